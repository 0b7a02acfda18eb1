"""Does a job again that left a receipt, and says whether its node told the truth.

Everything is taken from what the client sent and what the node left, by digest: the node is not
asked. What this machine lacks, or cannot fetch, is an error and no verdict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from bcai.base.errors import FormatError, InputError
from bcai.base.merkle import TreeHead
from bcai.base.values import decode_value
from bcai.cluster.node.worker_messages import INPUTS
from bcai.jobs.outcome import Outcome, Output
from bcai.jobs.settlement import Lie
from bcai.jobs.spec import JobKind, JobSpec, Mount
from bcai.jobs.training import CHECKPOINTS, FINAL_STATE, HISTORY, ROWS, RUN, STATE
from bcai.proof.check import check_receipt
from bcai.proof.data import Data
from bcai.proof.evidence import EvidenceClass, strongest
from bcai.proof.execute import begin, check_state
from bcai.proof.feed import Feeder
from bcai.proof.keys import parse_key_id
from bcai.proof.messages import Answerer
from bcai.proof.receipt import Receipt, decode_receipt
from bcai.proof.recorder import Trace
from bcai.proof.replay import Difference, Replayed, replay
from bcai.proof.run import Run, decode_run
from bcai.proof.side import ReplayingSide
from bcai.proof.single_run import single_run
from bcai.proof.state import TensorHash, canonical_tensors, content_hash, hash_tensors
from bcai.proof.trace_file import decode_trace
from bcai.vm.compiler.backend import Backend, Executable
from bcai.vm.isa.types import Array
from bcai.vm.program.codec import decode_program
from bcai.vm.program.program import VerifiedProgram
from bcai.vm.program.verifier import verify


@dataclass(frozen=True, slots=True)
class AuditReport:
    """How an audit ended: without a `lie` every checkpoint came out as the node said.

    None was compared where the program runs Python code, which has no bits to go by.
    """

    lie: Lie | None = None
    compared: int = 0
    claim: "Claim | None" = None
    """What to dispute it with, where the trace differs: that is not for one side to say."""

    @property
    def remark(self) -> str:
        """The same in words."""
        if self.lie is not None:
            return self.lie.message
        if not self.compared:
            return "not done again: the program runs Python code, whose bits nobody can judge"
        checkpoints = "checkpoint" if self.compared == 1 else "checkpoints"
        return f"done again: {self.compared} {checkpoints} and the outputs agree"


@dataclass(frozen=True, slots=True)
class Claim:
    """The trace that should have come out, and the side that shows it."""

    head: TreeHead
    side: Answerer


@dataclass(frozen=True, slots=True)
class _Order:
    """What the client ordered: a run, and all that it starts from."""

    program: VerifiedProgram
    run: Run
    feeder: Feeder
    state: Mapping[str, Array]
    first: int = 0
    """The first checkpoint that the node had to compute itself."""


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
    assert outcome.receipt is not None, "a result without a receipt is disputed at once"
    files = {(each.mount, each.path): blobs[each.digest] for each in spec.files}
    try:
        receipt = decode_receipt(blobs[outcome.receipt])
    except FormatError as error:
        return AuditReport(Lie("receipt.format", f"what it left is no receipt: {error}"))
    try:
        order = _ORDERS[spec.kind](spec, files)
    except (InputError, FormatError, SafetensorError, KeyError) as error:
        # A worker refuses such an order, so nobody can have carried it out.
        return AuditReport(Lie("order.impossible", f"it signed for what cannot be run: {error}"))
    lie = _misfit(job_id, receipt, order, node_key) or _other_outputs(
        spec.kind, receipt, outcome.outputs, blobs
    )
    if lie is not None:
        return AuditReport(lie)
    if strongest(order.program.program, backend.name) is not EvidenceClass.EXACT:
        return AuditReport()
    claimed = receipt.commitment.evidence
    if claimed is not EvidenceClass.EXACT:
        text = f"its evidence is {claimed}, so that no replay could judge it; expected exact"
        return AuditReport(Lie("evidence.class", text))
    executable = backend.compile(order.program)
    again = replay(
        order.feeder,
        order.program,
        executable,
        receipt.trace,
        order.state,
        first=order.first,
    )
    if again.difference is not None:
        claim = _claim(order, executable, receipt.trace, again)
        return AuditReport(_wrong(again.difference), again.compared, claim)
    return AuditReport(None, again.compared)


def _claim(order: _Order, executable: Executable, trace: Trace, again: Replayed) -> Claim:
    """The node's trace with its first wrong checkpoint put right: no later one is ever compared."""
    assert again.difference is not None
    at = again.difference.checkpoint
    checkpoints = (*trace.checkpoints[:at], again.difference.found, *trace.checkpoints[at + 1 :])
    right = Trace(checkpoints)
    states = {again.agreed_step: again.agreed}
    side = ReplayingSide(order.program, order.feeder, executable, right, states)
    return Claim(right.head, side)


def digests_of(spec: JobSpec, outcome: Outcome) -> set[str]:
    """What an audit reads."""
    outputs = {each.digest for each in outcome.outputs if each.digest is not None}
    receipt = {outcome.receipt} if outcome.receipt is not None else set[str]()
    return {each.digest for each in spec.files} | outputs | receipt


def _training(spec: JobSpec, files: Mapping[tuple[Mount, str], bytes]) -> _Order:
    assert spec.entry is not None
    program = verify(decode_program(files[Mount.PROJECT, spec.entry]))
    run = decode_run(files[Mount.PROJECT, RUN])
    feeder = Feeder(run, program, Data(load(files[Mount.DATA, ROWS])))
    state = load(files[Mount.DATA, STATE])
    if (Mount.PROJECT, CHECKPOINTS) not in files:
        return _Order(program, run, feeder, begin(run, program, state))
    earlier = decode_trace(files[Mount.PROJECT, CHECKPOINTS])
    known = check_state(program, state, earlier.final_state)
    return _Order(program, run, feeder, known, len(earlier.checkpoints))


def _program(spec: JobSpec, files: Mapping[tuple[Mount, str], bytes]) -> _Order:
    assert spec.entry is not None
    program = verify(decode_program(files[Mount.PROJECT, spec.entry]))
    source = files.get((Mount.DATA, INPUTS))
    single = single_run(program, load(source) if source is not None else {})
    feeder = Feeder(single.run, program, single.fed)
    return _Order(program, single.run, feeder, single.state)


_ORDERS = {JobKind.TRAINING: _training, JobKind.PROGRAM: _program}


def _misfit(job_id: str, receipt: Receipt, order: _Order, node_key: str) -> Lie | None:
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
    """Whether the client was given something else than the node signed for.

    A training's history is no tensor of the trace, and is not looked at.
    """
    known = {each.name: each for each in (*receipt.final_state, *receipt.last_outputs)}
    expected: dict[str, Sequence[TensorHash]] = {
        name: [known[name]] for name, _ in receipt.program.outputs
    }
    if kind is JobKind.TRAINING:
        expected = {FINAL_STATE: receipt.final_state}
    given = {each.name: each for each in outputs if kind is JobKind.PROGRAM or each.name != HISTORY}
    if given.keys() != expected.keys():
        names = ", ".join(sorted(given.keys() ^ expected.keys()))
        return Lie("outputs.names", f"outputs {names[:200]}: either signed for or delivered")
    for name, tensors in expected.items():
        output = given[name]
        if output.digest is None:
            is_right = len(tensors) == 1 and _is_value(output.value, tensors[0])
        else:
            wanted = {"value" if output.kind == "array" else each.name: each for each in tensors}
            is_right = _are_tensors(blobs[output.digest], wanted)
        if not is_right:
            return Lie("outputs.delivered", f"output {name!r} is not the one that it signed for")
    return None


def _is_value(value: object, expected: TensorHash) -> bool:
    """Whether a scalar that was delivered as a number has these bits."""
    try:
        array = np.asarray(decode_value(value), expected.type.dtype.numpy)
    except (TypeError, ValueError, OverflowError, FormatError):
        return False
    if array.shape != expected.type.shape:
        return False
    return content_hash(canonical_tensors({"": array})[""]) == expected.content


def _are_tensors(content: bytes, expected: Mapping[str, TensorHash]) -> bool:
    try:
        found = hash_tensors(load(content))
    except (SafetensorError, InputError, KeyError):
        return False
    wanted = {name: (each.type, each.content) for name, each in expected.items()}
    return {each.name: (each.type, each.content) for each in found} == wanted


def _wrong(found: Difference) -> Lie:
    start, stop = found.steps.start, found.steps.stop
    steps = f"step {start}" if stop - start == 1 else f"steps {start} to {stop - 1}"
    message = f"{' and '.join(found.parts)} of checkpoint {found.checkpoint} ({steps}) differ"
    return Lie("replay.differs", message, found.checkpoint, (start, stop))
