"""Holds a captured script's receipt against its order and what was delivered. Executes nothing.

As in `check_result.py` nobody's word is needed for it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blake3 import blake3
from safetensors import SafetensorError

from bcai.base.errors import FormatError, InputError
from bcai.jobs.captured import GIVEN
from bcai.jobs.outcome import Outcome, Output
from bcai.jobs.settlement import Lie
from bcai.jobs.sign_spec import encode_spec
from bcai.jobs.spec import JobSpec
from bcai.proof.capture import GivenLeaf
from bcai.proof.capture_check import check_capture
from bcai.proof.capture_receipt import CaptureReceipt, decode_capture, strongest_capture
from bcai.proof.capture_replay import value_given
from bcai.proof.commitment import OutputHash
from bcai.proof.delivered import is_value
from bcai.proof.evidence import EXACT_BACKENDS
from bcai.proof.keys import parse_key_id
from bcai.proof.receipt import SignedSpec
from bcai.proof.state import TensorHash, canonical_tensors, hash_tensors
from bcai.proof.tensors import load_tensors
from bcai.vm.isa.types import Array, parse_type

_BYTES = "bytes"  # type of an output that is no tensor of the trace


@dataclass(frozen=True, slots=True)
class CheckedCapture:
    """A receipt that fits what was ordered and delivered.

    Attributes
    ----------
    given
        What the script gave; None where the node left none of it, being too large.
    """

    receipt: CaptureReceipt
    given: Mapping[str, Array] | None


def check_captured(
    job_id: str,
    spec: JobSpec,
    outcome: Outcome,
    blobs: Mapping[str, bytes],
    node_key: str = "",
) -> CheckedCapture | Lie:
    """Say what is not so about a captured job's result, if anything; see `check_result`."""
    assert outcome.receipt is not None, "a result without a receipt is disputed at once"
    try:
        receipt = decode_capture(blobs[outcome.receipt])
    except FormatError as error:
        return Lie("receipt.format", f"what it left is no receipt of a captured script: {error}")
    left, outputs = _apart(receipt, outcome.outputs)
    lie = _misfit(job_id, spec, receipt, node_key) or _weaker(receipt)
    lie = lie or _other_outputs(receipt, outputs, blobs)
    if lie is not None:
        return lie
    wanted = [number for number, leaf in enumerate(receipt.leaves) if isinstance(leaf, GivenLeaf)]
    if wanted and left is None:
        return CheckedCapture(receipt, None)
    try:
        given = {} if left is None else load_tensors(blobs[left])
        for number in wanted:
            leaf = receipt.leaves[number]
            assert isinstance(leaf, GivenLeaf)
            value_given(given, number, leaf)
    except (SafetensorError, InputError, KeyError) as error:
        return Lie("given.delivered", f"what its script gave is not what it left: {error}")
    return CheckedCapture(receipt, given)


def _apart(
    receipt: CaptureReceipt, outputs: Sequence[Output]
) -> tuple[str | None, Sequence[Output]]:
    """The blob of what the script gave, if there is one, and the script's own outputs."""
    names = {each.name.partition(".")[0] for each in receipt.commitment.outputs}
    at = [place for place, each in enumerate(outputs) if each.name == GIVEN]
    at = at[1:] if GIVEN in names else at  # the script has an output of its own that is called so
    if not at:
        return None, outputs
    return outputs[at[0]].digest, [*outputs[: at[0]], *outputs[at[0] + 1 :]]


def _misfit(job_id: str, spec: JobSpec, receipt: CaptureReceipt, node_key: str) -> Lie | None:
    """What makes this no receipt of this job by this node, if anything."""
    report = check_capture(receipt, node=parse_key_id(node_key) if node_key else None)
    if report.findings:
        return Lie(report.findings[0].name, report.findings[0].message)
    if receipt.commitment.job_id != job_id:
        return Lie("receipt.job", f"its receipt is of {receipt.commitment.job_id!r}, another job")
    signature = spec.signature
    ordered = signature and SignedSpec(
        encode_spec(spec), parse_key_id(signature.key), bytes.fromhex(signature.value)
    )
    if receipt.spec != ordered:
        return Lie("spec.other", "its receipt encloses another order than the client's")
    return None


def _weaker(receipt: CaptureReceipt) -> Lie | None:
    """A claim that no replay could judge, where bits are defined."""
    at = receipt.commitment
    best = strongest_capture(receipt.leaves, at.unmapped, "reference")
    if at.evidence is best and at.backend in EXACT_BACKENDS:
        return None
    found = f"its evidence is {at.evidence}, on {at.backend}"
    text = f"{found}, so that no replay could judge it; expected {best}, on an exact backend"
    return Lie("evidence.class", text)


def _other_outputs(
    receipt: CaptureReceipt, outputs: Sequence[Output], blobs: Mapping[str, bytes]
) -> Lie | None:
    """Whether the client was given something else than the node signed for."""
    signed = frozenset(receipt.commitment.outputs)
    whole = {each.name for each in signed if each.type == _BYTES}
    seen: set[OutputHash] = set()
    for output in outputs:
        content = None if output.digest is None else blobs[output.digest]
        try:
            found = _said_of(output, content, signed, output.name in whole)
        except (SafetensorError, InputError, KeyError):
            found = None
        if found is None or not found <= signed:
            text = f"output {output.name!r} is not the one that it signed for"
            return Lie("outputs.delivered", text)
        seen |= found
    # Of a state_dict that is bound as bytes, the tensors that are in the trace are named, too.
    missing = [
        each.name
        for each in signed - seen
        if each.name in whole or not any(each.name.startswith(f"{name}.") for name in whole)
    ]
    if missing:
        names = ", ".join(sorted(missing))
        return Lie("outputs.names", f"signed for and not delivered: {names[:200]}")
    return None


def _said_of(
    output: Output, content: bytes | None, signed: frozenset[OutputHash], is_whole: bool
) -> set[OutputHash] | None:
    """What the table has to say of an output; None: nothing there is this value."""
    if is_whole:
        data = json.dumps(output.value, sort_keys=True).encode() if content is None else content
        return {OutputHash(output.name, _BYTES, blake3(data).digest())}
    if content is not None:
        return {
            OutputHash(
                output.name if output.kind == "array" else f"{output.name}.{tensor.name}",
                str(tensor.type),
                tensor.content,
            )
            for tensor in hash_tensors(canonical_tensors(load_tensors(content)))
        }
    same = (each for each in signed if each.name == output.name)
    return {each for each in same if is_value(output.value, _tensor(each))} or None


def _tensor(entry: OutputHash) -> TensorHash:
    return TensorHash(entry.name, parse_type(entry.type), entry.hash)
