"""An audit names what a node told that is not so, and accuses nobody who told the truth."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from bcai.base.digest import digest_of
from bcai.cluster.node.audit import AuditReport, audit
from bcai.jobs.check_result import digests_of
from bcai.jobs.outcome import Outcome, Output, Reason, ReasonCode
from bcai.jobs.spec import FileRef, JobKind, JobSpec
from bcai.jobs.states import Move
from bcai.jobs.training import FINAL_STATE, HISTORY
from bcai.proof.commitment import UsageClaim, sign_commitment
from bcai.proof.data import Data
from bcai.proof.evidence import EvidenceClass
from bcai.proof.execute import execute
from bcai.proof.feed import Feeder
from bcai.proof.issue import Circumstances, issue_receipt
from bcai.proof.keys import SigningKey
from bcai.proof.receipt import Receipt, encode_receipt
from bcai.proof.recorder import Recorder, Trace, fixed_parameters
from bcai.sdk.training import Start, TrainingPlan, draft_training, plan_training
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.program.builder import Builder

KEY = SigningKey.from_random(b"\1" * 32)
JOB = "job_1"
AT = Circumstances(
    JOB, "reference", "NumPy", "cpu", "program", ("verified",), UsageClaim(1.0, 1.0, 1), 1e9
)
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(16, 3)).astype(np.float32)
Y = GENERATOR.integers(0, 2, 16)
WEIGHTS = GENERATOR.normal(size=(3, 2)).astype(np.float32)


@dataclass(frozen=True)
class Done:
    """A training that a node did, and what it left."""

    spec: JobSpec
    blobs: dict[str, bytes]
    receipt: Receipt
    state: dict[str, Any]
    trace: Trace
    history: dict[str, Any]

    def result(
        self,
        receipt: bytes | None = None,
        state: Mapping[str, Any] | None = None,
        history: Mapping[str, Any] | None = None,
    ) -> tuple[Outcome, dict[str, bytes]]:
        """What it handed in, and all blobs."""
        content = encode_receipt(self.receipt) if receipt is None else receipt
        weights, losses = save(dict(state or self.state)), save(dict(history or self.history))
        blobs = self.blobs | {digest_of(each): each for each in (content, weights, losses)}
        outcome = Outcome(
            Move.SUCCEED,
            Reason(ReasonCode.SUCCEEDED, "done"),
            outputs=(
                Output(FINAL_STATE, "state_dict", digest=digest_of(weights)),
                Output(HISTORY, "state_dict", digest=digest_of(losses)),
            ),
            receipt=digest_of(content),
        )
        return outcome, blobs

    def audit(
        self,
        receipt: bytes | None = None,
        state: Mapping[str, Any] | None = None,
        history: Mapping[str, Any] | None = None,
    ) -> AuditReport:
        outcome, blobs = self.result(receipt, state, history)
        wanted = digests_of(self.spec, outcome)
        assert wanted <= blobs.keys()
        given = {digest: blobs[digest] for digest in wanted}
        return audit(JOB, self.spec, outcome, given, ReferenceBackend())


def plan(seed: int = 1, *, epochs: int = 2, start: Start | None = None) -> TrainingPlan:
    build = Builder()
    x, y = build.input("x", "float32[4,3]"), build.input("y", "int64[4]")
    weights = build.parameter("weights", "float32[3,2]")
    loss, *_ = build.emit("CrossEntropy", [x @ weights, y], {})
    planned = plan_training(
        build.finish(loss=loss),
        (X, Y),
        parameters={"weights": WEIGHTS},
        batch_size=4,
        epochs=epochs,
        seed=seed,
        checkpoint_every=2,
    )
    return replace(planned, start=start)


def do(work: TrainingPlan, *, lie_at: int = -1) -> Done:
    """Do it as a node would, with one bit flipped after step `lie_at`."""
    draft = draft_training(work)
    contents = {file.path: file.content or b"" for file in draft.files}
    files = tuple(
        FileRef(each.path, digest_of(contents[each.path]), each.size, each.mount)
        for each in draft.files
    )
    plain = {"entry": None, "code": "", "kind": JobKind.PYTHON}
    spec = replace(
        draft.submission.model_copy(update=plain).to_spec(),
        kind=draft.submission.kind, entry=draft.submission.entry, code=None, files=files,
    )  # fmt: skip
    prefix = work.start.trace.checkpoints if work.start else ()
    recorder = Recorder(work.run, fixed=fixed_parameters(work.step), prefix=prefix)
    executable = ReferenceBackend().compile(work.step)
    state: dict[str, Any] = dict(work.start.state if work.start else work.state)
    outputs: dict[str, Any] = {}
    losses: list[Any] = []
    feeder = Feeder(work.run, work.step, Data(work.rows))
    for index in range(prefix[-1].step if prefix else 0, work.run.steps):
        (found,) = execute(feeder, work.step, executable, state, start=index, stop=index + 1)
        state, outputs = found.state, found.outputs
        if index == lie_at:
            state = {**state, "weights": state["weights"].copy()}
            state["weights"].view("u4")[0, 0] ^= 1
        recorder.record(found.done, state, outputs)
        losses.append(outputs["loss"])
    trace = recorder.finish()
    receipt = issue_receipt(
        work.run, work.step, trace, state=state, outputs=outputs,
        output_roots=recorder.output_roots, circumstances=AT, key=KEY,
    )  # fmt: skip
    blobs = {digest_of(content): content for content in contents.values()}
    return Done(spec, blobs, receipt, state, trace, {"loss": np.array(losses)})


def code_of(report: AuditReport) -> str:
    assert report.lie is not None, "the lie was not seen"
    return report.lie.code


def test_who_told_the_truth_is_not_accused() -> None:
    done = do(plan())
    report = done.audit()
    assert (report.lie, report.compared, report.trace) == (None, 4, done.trace.head)
    assert report.last_step is not None
    assert report.remark == "done again: 4 checkpoints and the outputs agree"


@pytest.mark.parametrize("lie_at", range(8))
def test_one_bit_of_one_step_is_found_at_its_checkpoint(lie_at: int) -> None:
    report = do(plan(), lie_at=lie_at).audit()
    assert code_of(report) == "replay.differs"
    assert report.lie is not None
    start = lie_at // 2 * 2
    assert (report.lie.checkpoint, report.lie.steps) == (lie_at // 2, (start, start + 2))


def test_a_run_that_goes_on_is_done_again_from_where_it_began() -> None:
    first = do(plan(epochs=1))
    start = Start(first.state, first.trace)
    rest = do(plan(start=start))
    whole, found = do(plan()).audit(), rest.audit()
    assert (found.lie, found.compared) == (None, 2)
    assert found.last_step == whole.last_step
    wrong = do(plan(start=start), lie_at=6).audit()
    assert wrong.lie is not None
    assert wrong.lie.checkpoint == 3


def test_other_outputs_than_those_signed_for_are_found() -> None:
    done = do(plan())
    other = {**done.state, "weights": done.state["weights"] + 1}
    assert code_of(done.audit(state=other)) == "outputs.delivered"


def test_another_history_than_what_the_steps_put_out_is_found() -> None:
    done = do(plan())
    losses = done.history["loss"]
    assert done.audit(history={"loss": losses[4:]}).lie is None  # of a run that was continued
    for step in range(len(losses)):
        nicer = losses.copy()
        nicer[step] *= np.float32(0.5)
        assert code_of(done.audit(history={"loss": nicer})) == "outputs.delivered"
    wrong: list[dict[str, Any]] = [
        {"loss": losses[-1:]},  # less than a checkpoint
        {"loss": np.append(losses, losses[-1:])},
        {"loss": losses.astype(np.float64)},
        {"loss": losses.reshape(2, 4)},
        {"accuracy": losses},
        {"loss": losses, "accuracy": losses},
    ]
    for history in wrong:
        assert code_of(done.audit(history=history)) == "outputs.delivered"


def test_a_receipt_of_something_else_is_found() -> None:
    done = do(plan())
    assert code_of(done.audit(b"no receipt")) == "receipt.format"
    assert code_of(done.audit(encode_receipt(do(plan(seed=2)).receipt))) == "run.other"
    for change, code in (
        ({"job_id": "job_2"}, "receipt.job"),
        ({"evidence": EvidenceClass.BOUNDED}, "evidence.class"),
        ({"final_state": bytes(32)}, "state.final"),
    ):
        changes: dict[str, Any] = change
        altered = replace(done.receipt.commitment, **changes)
        signed = replace(done.receipt, commitment=altered, signature=sign_commitment(altered, KEY))
        assert code_of(done.audit(encode_receipt(signed))) == code
    unsigned = replace(done.receipt, signature=bytes(64))
    assert code_of(done.audit(encode_receipt(unsigned))) == "signature.commitment"
