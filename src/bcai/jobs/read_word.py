"""Reads what a node signed of a Python job, and holds it against what it reports."""

from base64 import b64decode

from blake3 import blake3

from bcai.base.errors import FormatError, InputError
from bcai.jobs.ballot import Ballot
from bcai.jobs.fingerprint import difference
from bcai.jobs.node import Fingerprint
from bcai.jobs.outcome import Outcome
from bcai.jobs.sign_spec import encode_spec
from bcai.jobs.spec import JobSpec
from bcai.proof.keys import key_id
from bcai.proof.python_commitment import (
    PythonCommitment,
    PythonOutput,
    hash_value,
    is_python_signed,
)
from bcai.proof.python_order import read_order
from bcai.proof.python_receipt import Word, decode_word

_NO_ANSWER = ("node.", "policy.", "waiting.")  # reasons of nodes, not of the job
_TEXT_LENGTH_MAX = 300


def ballot_of(
    order: str,
    spec: JobSpec,
    outcome: Outcome,
    *,
    number: int,
    node: tuple[str, str],
    fingerprint: Fingerprint | None,
) -> Ballot:
    """Read a replica's end.

    Parameters
    ----------
    order
        Id of the job that it is a replica of.
    node
        Id and name.
    fingerprint
        Of the group of nodes that was asked.
    """
    used, text = outcome.usage, outcome.reason.message[:_TEXT_LENGTH_MAX]
    empty = Ballot(number, *node, text=text, wall_s=used.wall_s, cpu_s=used.cpu_s)
    if outcome.reason.code.value.startswith(_NO_ANSWER):
        return empty
    try:
        word = read_word(order, spec, outcome)
    except (FormatError, InputError) as error:
        return Ballot(number, *node, text=f"what it signed does not count: {error}")
    commitment = word.commitment
    if commitment.fingerprint != fingerprint:
        other = difference(fingerprint or (), commitment.fingerprint)[:_TEXT_LENGTH_MAX]
        return Ballot(number, *node, text=f"it ran on another machine than was asked: {other}")
    return Ballot(
        number,
        *node,
        answer=commitment.answer.hex(),
        text=text,
        outputs=tuple((each.name, each.hash.hex()) for each in commitment.outputs),
        key=key_id(commitment.node),
        word=outcome.word or "",
        wall_s=used.wall_s,
        cpu_s=used.cpu_s,
    )


def read_word(order: str, spec: JobSpec, outcome: Outcome) -> Word:
    """Return what a node signed of a Python job, held against what it reports.

    Raises
    ------
    FormatError
        It signed nothing, or something else.
    """
    if outcome.word is None:
        raise FormatError("nothing is signed")
    try:
        word = decode_word(b64decode(outcome.word, validate=True))
    except ValueError as error:
        raise FormatError(f"not base64: {error}") from error
    if not is_python_signed(word.commitment, word.signature):
        raise FormatError("the signature is another key's")
    _check_order(word.commitment, order, encode_spec(spec))
    reported = outcome.reason.code.value, outcome.exit_status, output_table(outcome)
    commitment = word.commitment
    if reported != (commitment.reason, commitment.exit_status, commitment.outputs):
        raise FormatError("what is signed is not what is reported")
    return word


def _check_order(commitment: PythonCommitment, order: str, spec: bytes) -> None:
    wanted = read_order(spec)
    if (commitment.job_id, commitment.spec) != (order, blake3(spec).digest()):
        raise FormatError("it is of another job")
    if (commitment.code, commitment.inputs) != (wanted.code, wanted.inputs):
        raise FormatError("it is of other code or inputs")


def output_table(outcome: Outcome) -> tuple[PythonOutput, ...]:
    """The outputs as they are signed, ascending by name.

    Raises
    ------
    FormatError
        A digest is none.
    """
    rows = sorted(outcome.outputs, key=lambda each: each.name.encode())
    return tuple(
        PythonOutput(
            each.name,
            each.kind,
            hash_value(each.value)
            if each.digest is None
            else bytes.fromhex(each.digest.removeprefix("blake3:")),
        )
        for each in rows
    )
