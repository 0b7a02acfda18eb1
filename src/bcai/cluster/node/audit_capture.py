"""Has a captured script run again, and says whether its node told the truth.

Note [What an audit of a captured script proves]
    The script runs again in a jail of the challenger's own. The same trace from it proves all:
    these are the operations that the script asks for, on its data, and each came out as it must.
    A part that came out otherwise, of the same program on the same operands, is one side's lie:
    that is disputed. Anywhere else scripts may differ of themselves, as in the time of day, so
    nobody can be blamed. Then the node's own trace is replayed from the values that its script
    gave: that proves the computing, and leaves open whether the values are the script's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from bcai.base.errors import BcaiError, InputError
from bcai.base.units import format_count
from bcai.cluster.node.audit import AuditReport, Claim
from bcai.jobs.check_captured import CheckedCapture, check_captured
from bcai.jobs.environment import RanIn
from bcai.jobs.outcome import Outcome
from bcai.jobs.settlement import Lie
from bcai.jobs.spec import JobSpec
from bcai.proof.capture import GivenLeaf, Leaf, NamedLeaf, PartLeaf
from bcai.proof.capture_dispute import Split, first_difference, inputs_of, part_of
from bcai.proof.capture_receipt import CaptureReceipt
from bcai.proof.capture_replay import replay_capture
from bcai.proof.evidence import EXACT_BACKENDS
from bcai.vm.compiler.backend import Backend
from bcai.vm.isa.types import Array


@dataclass(frozen=True, slots=True)
class RanAgain:
    """What came of a script on this machine, the values that it gave, and the Python it ran in."""

    receipt: CaptureReceipt
    given: Mapping[str, Array]
    ran_in: RanIn


def audit_capture(
    job_id: str,
    spec: JobSpec,
    outcome: Outcome,
    blobs: Mapping[str, bytes],
    backend: Backend,
    run_again: Callable[[], RanAgain],
    node_key: str = "",
) -> AuditReport:
    """Check a captured job's receipt, then have the script run again; see `audit`.

    See Note [What an audit of a captured script proves].

    Raises
    ------
    BcaiError
        It could not be done here, such as for want of a jail: nothing is said about the node.
    """
    if backend.name not in EXACT_BACKENDS:
        raise InputError(f"backend {backend.name}: its bits judge nobody; expected an exact one")
    found = check_captured(job_id, spec, outcome, blobs, node_key)
    if isinstance(found, Lie):
        return AuditReport(found)
    try:
        again = run_again()
    except BcaiError:
        report = _replayed(found, backend)  # a lie in the computing shows without a jail, too
        if report is None or report.lie is None:
            raise
        return report
    if again.receipt.commitment.trace == found.receipt.commitment.trace:
        return _agreed(found.receipt)
    split = first_difference(found.receipt, again.receipt)
    if not split.reason:
        return _disputed(found.receipt, split, again, backend)
    report = _replayed(found, backend)
    if report is not None and report.lie is not None:
        return report
    _require_same_packages(outcome.environment, again.ran_in)
    return AuditReport(
        compared=0 if report is None else report.compared,
        said=_nobody(split, None if report is None else report.compared),
        is_open=True,
    )


def _agreed(receipt: CaptureReceipt) -> AuditReport:
    parts = sum(isinstance(each, PartLeaf) for each in receipt.leaves)
    said = f"run again: the script gave the same trace, {format_count(parts, 'part')}"
    return AuditReport(compared=parts, said=said, trace=receipt.commitment.trace)


def _replayed(checked: CheckedCapture, backend: Backend) -> AuditReport | None:
    """Run the node's trace from what its script gave; None where the node could not leave that."""
    if checked.given is None:
        return None
    found = replay_capture(checked.receipt, checked.given, backend)
    if found.difference is None:
        return AuditReport(compared=found.parts)
    at = found.difference
    part = replace(part_of(checked.receipt, at.leaf), results=at.results)
    claim = Claim(part.trace.head, part.side(at.inputs, backend), at.leaf)
    return AuditReport(_wrong(at.leaf, at.result), found.parts, claim)


def _disputed(
    receipt: CaptureReceipt, split: Split, again: RanAgain, backend: Backend
) -> AuditReport:
    """The part that came out otherwise here, from the values that the script gave here."""
    inputs = inputs_of(again.receipt, again.given, backend, split.leaf)
    part, theirs = part_of(again.receipt, split.leaf), part_of(receipt, split.leaf)
    pairs = zip(part.results, theirs.results, strict=True)
    result = next(place for place, (own, other) in enumerate(pairs) if own != other)
    claim = Claim(part.trace.head, part.side(inputs, backend), split.leaf)
    return AuditReport(_wrong(split.leaf, result), split.leaf, claim)


def _wrong(leaf: int, result: int) -> Lie:
    return Lie("replay.differs", f"result {result} of the part at leaf {leaf} differs")


def _require_same_packages(theirs: RanIn | None, own: RanIn) -> None:
    """Other packages may ask for other operations. Raises InputError: that is no verdict."""
    if theirs is not None and (theirs.python, theirs.lock) != (own.python, own.lock):
        there, here = theirs.lock or "unknown", own.lock or "unknown"
        raise InputError(
            f"run again, the script did otherwise, but in Python {own.python} with lock {here}; "
            f"the node had {theirs.python} with {there}",
            hint="build the environment that the node had: docs/guides/environments.md",
        )


def _nobody(split: Split, parts: int | None) -> str:
    """Say where the scripts part, and what is proved all the same."""
    where = f"leaf {split.leaf}, {_in_words(split.a)} there and {_in_words(split.b)} here"
    computing = (
        "the values that its script gave were too large to be left, so nothing was replayed"
        if parts is None
        else f"replayed from its script's values, {format_count(parts, 'part')} came out the same: "
        "the computing is right, and that they are the script's is the node's word"
    )
    return f"run again, {split.reason} ({where}): nobody can be blamed for that; {computing}"


def _in_words(leaf: Leaf | None) -> str:
    match leaf:
        case None:
            return "its end"
        case GivenLeaf():
            origin = f" of {leaf.origin}" if leaf.origin else ""
            return f"a value {leaf.type}{origin}"
        case PartLeaf():
            return f"a part of program {leaf.program.hex()[:12]}"
        case NamedLeaf():
            return f"output {leaf.name!r}"
