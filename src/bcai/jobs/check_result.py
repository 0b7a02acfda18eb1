"""Holds a result's receipt against what was ordered and what was delivered. Computes nothing again.

All of it is bytes that anyone can have, so nobody's word is needed: a challenger that says that
something here does not fit is proved right or wrong by the same lines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from safetensors import SafetensorError

from bcai.base.errors import FormatError, InputError
from bcai.jobs.order import READERS, Order, read_order
from bcai.jobs.outcome import Outcome, Output
from bcai.jobs.settlement import Lie
from bcai.jobs.spec import JobKind, JobSpec
from bcai.jobs.training import FINAL_STATE, HISTORY
from bcai.proof.check import check_receipt
from bcai.proof.delivered import are_tensors, is_history, is_value
from bcai.proof.evidence import EvidenceClass, strongest
from bcai.proof.keys import parse_key_id
from bcai.proof.receipt import Receipt, decode_receipt
from bcai.proof.state import TensorHash


@dataclass(frozen=True, slots=True)
class Checked:
    """A receipt that fits what was ordered and what was delivered."""

    receipt: Receipt
    order: Order


def check_result(
    job_id: str,
    spec: JobSpec,
    outcome: Outcome,
    blobs: Mapping[str, bytes],
    node_key: str = "",
) -> Checked | Lie:
    """Say what is not so about a result, if anything.

    Parameters
    ----------
    blobs
        The content of each of `digests_of`, held against its digest.
    node_key
        The key that is bound to the node that got the job; empty: whichever signed.

    Raises
    ------
    InputError
        A job of this kind leaves no such receipt.
    """
    if spec.kind not in READERS:
        raise InputError(f"kind: found {spec.kind}, expected one of {', '.join(READERS)}")
    assert outcome.receipt is not None, "a result without a receipt is disputed at once"
    files = {(each.mount, each.path): blobs[each.digest] for each in spec.files}
    try:
        receipt = decode_receipt(blobs[outcome.receipt])
    except FormatError as error:
        return Lie("receipt.format", f"what it left is no receipt: {error}")
    try:
        order = read_order(spec, files)
    except (InputError, SafetensorError, KeyError) as error:
        # A worker refuses such an order, so nobody can have carried it out.
        return Lie("order.impossible", f"it signed for what cannot be run: {error}")
    lie = _misfit(job_id, receipt, order, node_key)
    lie = lie or _other_outputs(spec.kind, receipt, outcome.outputs, blobs)
    return lie or _weaker(receipt, order) or Checked(receipt, order)


def digests_of(spec: JobSpec, outcome: Outcome) -> set[str]:
    """What `check_result` reads."""
    outputs = {each.digest for each in outcome.outputs if each.digest is not None}
    receipt = {outcome.receipt} if outcome.receipt is not None else set[str]()
    return {each.digest for each in spec.files} | outputs | receipt


def _misfit(job_id: str, receipt: Receipt, order: Order, node_key: str) -> Lie | None:
    """What makes this no receipt of this job by this node, if anything."""
    node = parse_key_id(node_key) if node_key else None
    report = check_receipt(receipt, node=node, run=order.run.digest)
    if report.findings:
        first = report.findings[0]
        return Lie(first.name, first.message)
    if receipt.commitment.job_id != job_id:
        return Lie("receipt.job", f"its receipt is of {receipt.commitment.job_id!r}, another job")
    return None


def _other_outputs(
    kind: JobKind, receipt: Receipt, outputs: Sequence[Output], blobs: Mapping[str, bytes]
) -> Lie | None:
    """Whether the client was given something else than the node signed for."""
    known = {each.name: each for each in (*receipt.final_state, *receipt.last_outputs)}
    expected: dict[str, Sequence[TensorHash]] = {
        name: [known[name]] for name, _ in receipt.program.outputs
    }
    if kind is JobKind.TRAINING:
        expected = {FINAL_STATE: receipt.final_state, HISTORY: ()}
    given = {each.name: each for each in outputs}
    if given.keys() != expected.keys():
        names = ", ".join(sorted(given.keys() ^ expected.keys()))
        return Lie("outputs.names", f"outputs {names[:200]}: either signed for or delivered")
    for name, tensors in expected.items():
        output = given[name]
        if kind is JobKind.TRAINING and name == HISTORY:
            is_right = output.digest is not None and is_history(blobs[output.digest], receipt)
        elif output.digest is None:
            is_right = len(tensors) == 1 and is_value(output.value, tensors[0])
        else:
            wanted = {"value" if output.kind == "array" else each.name: each for each in tensors}
            is_right = are_tensors(blobs[output.digest], wanted)
        if not is_right:
            return Lie("outputs.delivered", f"output {name!r} is not the one that it signed for")
    return None


def _weaker(receipt: Receipt, order: Order) -> Lie | None:
    """A claim that no replay could judge, where the program's bits are defined."""
    claimed = receipt.commitment.evidence
    exact = strongest(order.program.program, "reference")
    if exact is not EvidenceClass.EXACT or claimed is EvidenceClass.EXACT:
        return None
    text = f"its evidence is {claimed}, so that no replay could judge it; expected exact"
    return Lie("evidence.class", text)
