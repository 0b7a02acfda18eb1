"""A job as the network knows it: its spec, where it is, and every attempt."""

from dataclasses import dataclass, field
from enum import StrEnum

from bcai.jobs.outcome import Outcome, Reason
from bcai.jobs.replication import Replica
from bcai.jobs.settlement import Settlement
from bcai.jobs.spec import JobSpec
from bcai.jobs.states import JobState


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a job on one node."""

    number: int
    node_id: str
    node_name: str
    assigned_at: float
    started_at: float | None = None
    ended_at: float | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One job. Times are Unix seconds.

    `lock_token` fences writes: who does not hold the current one is refused. It changes
    whenever the job changes hands. It never leaves the cluster.
    """

    id: str
    owner: str
    spec: JobSpec
    state: JobState
    created_at: float
    updated_at: float
    lock_token: str
    attempts: tuple[Attempt, ...] = ()
    node_id: str | None = None
    lease_until: float | None = None
    not_before: float = 0.0
    cancel_requested: bool = False
    waiting: Reason | None = None
    progress: float = 0.0  # 0 to 1
    started_at: float | None = None
    finished_at: float | None = None
    outcome: Outcome | None = None
    warnings: tuple[str, ...] = ()
    settlement: Settlement | None = None  # of a job that asked for a check and has succeeded
    replica: Replica | None = None  # of a job that several nodes do


class EventKind(StrEnum):
    """What an event of a job tells."""

    STATE = "state"  # {"state", "reason"?, "attempt"?, "node"?}
    LOG = "log"  # {"stream": "stdout" | "stderr", "text"}: whole lines, or the last one
    METRIC = "metric"  # {"step"?, "values": {name: number}}
    PROGRESS = "progress"  # {"fraction": 0..1}
    NOTE = "note"  # {"text"}: a warning or remark by the network


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One line of a job's history. `sequence` counts from 1 in each job and is the cursor."""

    sequence: int
    at: float
    attempt: int
    kind: EventKind
    body: dict[str, object] = field(default_factory=dict[str, object])
