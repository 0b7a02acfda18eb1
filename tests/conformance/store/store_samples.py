"""Values that the stores' tests share."""

from dataclasses import dataclass

from bcai.bridge.sandbox.level import JailReport
from bcai.jobs.job import Job
from bcai.jobs.node import Capabilities, Gpu, Node
from bcai.jobs.outcome import Outcome, Output, Reason, ReasonCode, Usage
from bcai.jobs.spec import JobSpec
from bcai.jobs.states import Move
from bcai.wire.nodes import Finished, Log, Report, ReportBody, Started

LEASE_S = 10.0
LOST = Reason(ReasonCode.NODE_LOST, "the node is gone", "start it again")
CAPABILITIES = Capabilities(
    cpu_count=2,
    memory_bytes=1 << 43,  # room for whatever a test gives it
    slots=1000,
    python="3.11.7",
    packages={"torch": "2.8.0"},
    jail=JailReport("A", ("no network",), {"memory_bytes": 1.0}, ("cgroup: not writable",)),
    gpus=(Gpu("Some GPU", 1 << 34),),
    platform="Linux",
)
NODE = Node("node-1", "laptop", CAPABILITIES, seen_at=0.0, online=True)


@dataclass(slots=True)
class Clock:
    """A clock that stands still until it is moved."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def spec(name: str = "digits", *, max_retries: int = 3) -> JobSpec:
    return JobSpec(name, code="print('hello')", max_retries=max_retries, labels={"é": "ü\0"})


def report(job: Job, number: int, body: ReportBody) -> Report:
    return Report(job_id=job.id, lock_token=job.lock_token, number=number, body=body)


def started(job: Job, number: int = 1) -> Report:
    return report(job, number, Started(at=1.0))


def log(job: Job, number: int, text: str) -> Report:
    return report(job, number, Log(at=2.0, stream="stdout", text=text))


def finished(job: Job, number: int, outcome: Outcome) -> Report:
    return report(job, number, Finished(at=3.0, outcome=outcome))


def success() -> Outcome:
    return Outcome(
        Move.SUCCEED,
        Reason(ReasonCode.SUCCEEDED, "done"),
        outputs=(
            Output("loss", "value", value={"$number": "nan"}, summary="float"),
            Output("weights", "state_dict", digest="blake3:" + "0" * 64, size=12),
        ),
        warnings=("a warning",),
        exit_status=0,
        usage=Usage(wall_s=1.5, cpu_s=1.25, memory_bytes_peak=1 << 20, log_bytes=7),
        jail=CAPABILITIES.jail,
    )


def failure(move: Move = Move.FAIL, message: str = "ValueError: no") -> Outcome:
    code = ReasonCode.NODE_ERROR if move is Move.RETRY else ReasonCode.EXCEPTION
    return Outcome(move, Reason(code, message), exit_status=1, user_line=3)
