"""A dispute between a challenger and the node it accuses, as it is stored: all that was said.

Who is right follows from this record alone: the referee (`cluster/scheduler/referee.py`) gives the
questions and answers to the pure machine of `proof/bisection.py` again, from the first, whenever
it has to. So a referee, a gateway or a side that is killed loses nothing. Times are Unix seconds.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from bcai.base.errors import ConflictError

ROUNDS_MAX = 256
"""More than any dispute has: 16 hashes an answer come to the end of 2^63 leaves in 32 rounds."""
SILENT_MAX = 3
"""Disputes about one result that a challenger may lose by its clock: it may have crashed."""


class Party(StrEnum):
    """The two sides."""

    NODE = "node"
    CHALLENGER = "challenger"


@dataclass(frozen=True, slots=True)
class Said:
    """A side's answer: the digest of its bytes; None: it has nothing to say."""

    at: float
    answer: str | None


@dataclass(frozen=True, slots=True)
class Round:
    """One question to both sides, in hexadecimal digits, and what they answered."""

    asked_at: float
    question: str
    node: Said | None = None
    challenger: Said | None = None

    @property
    def missing(self) -> tuple[Party, ...]:
        """Whose answer is awaited."""
        pairs = ((Party.NODE, self.node), (Party.CHALLENGER, self.challenger))
        return tuple(party for party, said in pairs if said is None)


@dataclass(frozen=True, slots=True)
class Ruling:
    """How a dispute ended.

    Attributes
    ----------
    faulty
        Who lied, or said nothing in time.
    code, message
        What about, as of the node's lie where it told one, else the challenger's.
    place
        The leaf in words, such as `instruction 12 (MatMul)`; empty where it did not come so far.
    part
        Of a captured script: the leaf of the part that it was about, in place of a step.
    operands
        Where that instruction's operands come from, and their types.
    messages, nbytes, seconds
        What it took.
    """

    faulty: tuple[Party, ...]
    code: str
    message: str
    challenger: str
    at: float
    checkpoint: int | None = None
    step: int | None = None
    instruction: int | None = None
    place: str = ""
    operands: tuple[str, ...] = ()
    messages: int = 0
    nbytes: int = 0
    seconds: float = 0.0
    part: int | None = None

    @property
    def text(self) -> str:
        """The same in words."""
        where = "" if self.step is None else f"step {self.step}: "
        where = where if self.part is None else f"the part at leaf {self.part}: "
        took = f"{self.messages} messages, {self.nbytes} bytes, {self.seconds:.1f} s"
        return f"{where}{self.message} [{self.code}]; {took}"


@dataclass(frozen=True, slots=True)
class DisputeRecord:
    """One dispute.

    Attributes
    ----------
    challenger, challenger_key
        Name and id of the API key that opened it.
    size, root
        The head of the trace that the challenger says is right; 0 and empty in an accusation.
    part
        Of a captured script: the leaf of the part whose trace that is.
    accusation, claim
        What else than the trace is not so, by its code and in words. Nobody is asked about it: the
        referee looks for itself.
    clock_s
        How long each side may take for all of its answers together.
    """

    id: str
    job_id: str
    node_id: str
    node_name: str
    challenger: str
    challenger_key: str
    size: int
    root: str
    opened_at: float
    clock_s: float
    rounds: tuple[Round, ...] = ()
    ruling: Ruling | None = None
    accusation: str = ""
    claim: str = ""
    part: int | None = None

    @property
    def missing(self) -> tuple[Party, ...]:
        """Whose answer is awaited."""
        return self.rounds[-1].missing if self.rounds and self.ruling is None else ()


def answered(record: DisputeRecord, party: Party, number: int, said: Said) -> DisputeRecord:
    """Take an answer to question `number`, from 0. The same once more changes nothing.

    Raises
    ------
    ConflictError
        The dispute is over, has another question now, or the side has said something else.
    """
    if record.ruling is not None:
        raise ConflictError(f"dispute {record.id} is over: {record.ruling.text}")
    if not 0 <= number < len(record.rounds):
        raise ConflictError(
            f"round: found {number}, expected {len(record.rounds) - 1}, the present one"
        )
    before = record.rounds[number].node if party is Party.NODE else record.rounds[number].challenger
    if before is not None:
        if before.answer == said.answer:
            return record
        raise ConflictError(f"round {number}: the {party} has answered otherwise")
    latest = record.rounds[number]
    changed = (
        replace(latest, node=said) if party is Party.NODE else replace(latest, challenger=said)
    )
    return replace(record, rounds=(*record.rounds[:number], changed))


def asked(record: DisputeRecord, question: str, at: float) -> DisputeRecord:
    """Ask the next question."""
    assert record.ruling is None
    assert not record.missing
    return replace(record, rounds=(*record.rounds, Round(at, question)))


def asked_again(record: DisputeRecord, at: float) -> DisputeRecord:
    """Let the clocks of the present question run from now: nobody kept time meanwhile."""
    if not record.missing:
        return record
    latest = replace(record.rounds[-1], asked_at=at)
    return replace(record, rounds=(*record.rounds[:-1], latest))
