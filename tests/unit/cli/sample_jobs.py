"""Jobs to show, as the gateway would describe them."""

from dataclasses import replace
from typing import Any

from bcai.bridge.sandbox.level import JailReport
from bcai.jobs.job import Attempt
from bcai.jobs.outcome import Outcome, Output, Reason, ReasonCode, Usage
from bcai.jobs.spec import JobSpec
from bcai.jobs.states import JobState, Move
from bcai.wire.jobs import JobView

JOB_ID = "job_01kbgz3v7m9x2q4r6t8v0w1y3z"
DIGEST = "blake3:" + "0" * 64
JAIL = JailReport("B", layers=("own namespaces", "no network", "Landlock ABI 7", "seccomp"))
SUCCESS = Outcome(
    move=Move.SUCCEED,
    reason=Reason(ReasonCode.SUCCEEDED, "the script ended"),
    outputs=(
        Output("loss", "value", value=0.0112),
        Output("accuracy", "value", value=0.98055),
        Output("note", "value", value="fine"),
        Output("model", "state_dict", digest=DIGEST, size=115_200, summary="6 tensors"),
    ),
    usage=Usage(wall_s=6.4, cpu_s=7.1, memory_bytes_peak=412 * 1024 * 1024),
    jail=JAIL,
    exit_status=0,
)


def job(outcome: Outcome | None = SUCCESS, **changes: Any) -> JobView:
    """Return a job; it has ended if it has an outcome."""
    states = {Move.SUCCEED: JobState.SUCCEEDED, Move.FAIL: JobState.FAILED}
    state = JobState.QUEUED if outcome is None else states[outcome.move]
    fields: dict[str, Any] = {
        "id": JOB_ID, "name": "digits", "state": state, "created_at": 100.0, "updated_at": 107.0,
        "started_at": 100.5, "finished_at": 106.9, "progress": 1.0, "cancel_requested": False,
        "waiting": None, "reason": outcome.reason if outcome else None, "node_id": "node_1",
        "warnings": (), "attempts": (Attempt(1, "node_1", "box", 100.1),), "outcome": outcome,
        "spec": JobSpec(name="digits", code="x = 1\ny = 2\nz = 1 / 0\nw = 3\n"),
    }  # fmt: skip
    return JobView(**{**fields, **changes})


def failure(message: str, code: ReasonCode = ReasonCode.EXCEPTION, **changes: Any) -> Outcome:
    """Return how a job failed."""
    failed = replace(SUCCESS, move=Move.FAIL, reason=Reason(code, message, "do better"))
    return replace(failed, outputs=(), **changes)
