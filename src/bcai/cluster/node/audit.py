"""Does a job again that left a receipt, and says whether its node told the truth.

Everything is taken from what the client sent and what the node left, by digest: the node is not
asked. What this machine lacks, or cannot fetch, is an error and no verdict.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bcai.base.merkle import TreeHead
from bcai.jobs.check_result import check_result
from bcai.jobs.order import Order
from bcai.jobs.outcome import Outcome
from bcai.jobs.settlement import Lie
from bcai.jobs.spec import JobSpec
from bcai.proof.evidence import EvidenceClass, strongest
from bcai.proof.last_step import LastStepTraced
from bcai.proof.messages import Answerer
from bcai.proof.recorder import Trace
from bcai.proof.replay import Difference, Replayed, replay
from bcai.proof.side import ReplayingSide
from bcai.vm.compiler.backend import Backend, Executable


@dataclass(frozen=True, slots=True)
class AuditReport:
    """How an audit ended: without a `lie` every checkpoint came out as the node said.

    None was compared where the program runs Python code, which has no bits to go by.
    """

    lie: Lie | None = None
    compared: int = 0
    claim: "Claim | None" = None
    """What to dispute it with, where the trace differs: that is not for one side to say."""
    said: str = ""
    """The same in words, of a captured script."""
    is_open: bool = False
    """It came out otherwise, and nobody can be blamed: the result is not settled."""
    trace: TreeHead | None = None
    """What came out here, where it was done again and agrees."""
    last_step: TreeHead | None = None
    """Of the trace of the last step, instruction by instruction; no receipt has it."""

    @property
    def remark(self) -> str:
        """The same in words."""
        if self.lie is not None:
            return self.lie.message
        if self.said:
            return self.said
        if not self.compared:
            return "not done again: the program runs Python code, whose bits nobody can judge"
        checkpoints = "checkpoint" if self.compared == 1 else "checkpoints"
        return f"done again: {self.compared} {checkpoints} and the outputs agree"


@dataclass(frozen=True, slots=True)
class Claim:
    """The trace that should have come out, and the side that shows it.

    Of a captured script it is that of one `part`, by its leaf.
    """

    head: TreeHead
    side: Answerer
    part: int | None = None


def audit(
    job_id: str,
    spec: JobSpec,
    outcome: Outcome,
    blobs: Mapping[str, bytes],
    backend: Backend,
    node_key: str = "",
) -> AuditReport:
    """Check a job's receipt against what was ordered and delivered, then do the job again.

    Parameters
    ----------
    blobs
        The content of each of `digests_of`, held against its digest.
    node_key
        The key that is bound to the node that got the job; empty: whichever signed.

    Raises
    ------
    BcaiError
        It could not be done here, such as for want of memory: nothing is said about the node.
    """
    found = check_result(job_id, spec, outcome, blobs, node_key)
    if isinstance(found, Lie):
        return AuditReport(found)
    receipt, order = found.receipt, found.order
    if strongest(order.program.program, backend.name) is not EvidenceClass.EXACT:
        return AuditReport()
    executable = backend.compile(order.program)
    watched = LastStepTraced(executable, order.program, _steps(order))
    again = replay(
        order.feeder,
        order.program,
        watched,
        receipt.trace,
        order.state,
        first=order.first,
    )
    if again.difference is not None:
        claim = _claim(order, executable, receipt.trace, again)
        return AuditReport(_wrong(again.difference), again.compared, claim)
    head = receipt.trace.head  # each of its checkpoints came out here, too
    return AuditReport(None, again.compared, trace=head, last_step=watched.head)


def _steps(order: Order) -> int:
    """How many steps an audit computes."""
    return order.run.steps - order.run.span(order.first).start


def _claim(order: Order, executable: Executable, trace: Trace, again: Replayed) -> Claim:
    """The node's trace with its first wrong checkpoint put right: no later one is ever compared."""
    assert again.difference is not None
    at = again.difference.checkpoint
    checkpoints = (*trace.checkpoints[:at], again.difference.found, *trace.checkpoints[at + 1 :])
    right = Trace(checkpoints)
    states = {again.agreed_step: again.agreed}
    side = ReplayingSide(order.program, order.feeder, executable, right, states)
    return Claim(right.head, side)


def _wrong(found: Difference) -> Lie:
    start, stop = found.steps.start, found.steps.stop
    steps = f"step {start}" if stop - start == 1 else f"steps {start} to {stop - 1}"
    message = f"{' and '.join(found.parts)} of checkpoint {found.checkpoint} ({steps}) differ"
    return Lie("replay.differs", message, found.checkpoint, (start, stop))
