"""What the gateway tells a client about jobs, nodes and errors."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from bcai.base.errors import BcaiError, error_class, http_status
from bcai.jobs.job import Attempt, Job, JobEvent
from bcai.jobs.node import Capabilities, Node
from bcai.jobs.outcome import Outcome, Reason
from bcai.jobs.settlement import Settlement
from bcai.jobs.spec import JobSpec
from bcai.jobs.states import JobState

SPEC: TypeAdapter[JobSpec] = TypeAdapter(JobSpec)
OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)
CAPABILITIES: TypeAdapter[Capabilities] = TypeAdapter(Capabilities)
ATTEMPTS: TypeAdapter[tuple[Attempt, ...]] = TypeAdapter(tuple[Attempt, ...])
SETTLEMENT: TypeAdapter[Settlement] = TypeAdapter(Settlement)
REASON: TypeAdapter[Reason] = TypeAdapter(Reason)


class JobSummary(BaseModel):
    """One job in a list: how it is, not what it brings. Times are Unix seconds."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    state: JobState
    created_at: float
    updated_at: float
    started_at: float | None
    finished_at: float | None
    progress: float = Field(description="From 0 to 1.")
    cancel_requested: bool
    waiting: Reason | None = Field(description="Why the job is not running yet.")
    reason: Reason | None = Field(description="Why the job ended as it did.")
    node_id: str | None
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, job: Job) -> Self:
        """Show a job."""
        return cls(**_summary(job))


class JobView(JobSummary):
    """One job, as its owner sees it: all but what fences writes."""

    attempts: tuple[Attempt, ...]
    outcome: Outcome | None = Field(description="Set once the state is final.")
    spec: JobSpec
    settlement: Settlement | None = Field(
        default=None, description="Whether the result is taken for true, if that was asked for."
    )

    @classmethod
    def of(cls, job: Job) -> Self:
        """Show a job."""
        return cls(
            **_summary(job),
            attempts=job.attempts,
            outcome=job.outcome,
            spec=job.spec,
            settlement=job.settlement,
        )


def _summary(job: Job) -> dict[str, Any]:
    """What a list and a single view have in common."""
    return {
        "id": job.id,
        "name": job.spec.name,
        "state": job.state,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "progress": job.progress,
        "cancel_requested": job.cancel_requested,
        "waiting": job.waiting,
        "reason": job.outcome.reason if job.outcome else None,
        "node_id": job.node_id,
        "warnings": job.warnings,
    }


class JobList(BaseModel):
    """A page of jobs, newest first. `next_page_token` is None on the last page."""

    items: list[JobSummary]
    next_page_token: str | None


class EventList(BaseModel):
    """A page of a job's events, oldest first. Ask again with `after=next_after`."""

    items: list[JobEvent]
    next_after: int
    final: bool = Field(description="The job has ended and no event follows this page.")


class ResultView(BaseModel):
    """How a job ended."""

    job_id: str
    state: JobState
    outcome: Outcome
    attempts: tuple[Attempt, ...]
    warnings: tuple[str, ...]
    settlement: Settlement | None = None


class NodeList(BaseModel):
    """The nodes of the network."""

    items: list[Node]


class FieldError(BaseModel):
    """One field that is wrong, by JSON pointer."""

    pointer: str
    detail: str


class Problem(BaseModel):
    """An error, as RFC 9457 (Problem Details for HTTP APIs) describes it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    code: str = Field(description="Stable name of the error; see docs/errors.md.")
    hint: str = ""
    state: JobState | None = Field(default=None, description="Where the job is, if that is why.")
    errors: list[FieldError] = Field(default_factory=list[FieldError])

    @classmethod
    def of(cls, error: BcaiError, **more: Any) -> "Problem":
        """Describe a deliberate error."""
        title = type(error).__doc__ or type(error).__name__
        return cls(
            type=f"https://github.com/bcai-network/bcai/blob/main/docs/errors.md#{error.code}",
            title=title.splitlines()[0].rstrip("."),
            status=http_status(error.code),
            detail=str(error),
            code=error.code,
            hint=error.hint,
            **more,
        )

    def to_error(self) -> BcaiError:
        """Build the error that the server raised."""
        fields = "; ".join(f"{error.pointer}: {error.detail}" for error in self.errors)
        text = self.detail or self.title
        return error_class(self.code)(f"{text} ({fields})" if fields else text, hint=self.hint)


class Health(BaseModel):
    """The gateway answers, and so does its store."""

    status: str = Field(examples=["ok"])
    version: str
    nodes_online: int
