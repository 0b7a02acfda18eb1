"""The conversation between a client and a gateway over one WebSocket (`/v1/ws`), as JSON text.

The client sends Submit (answered with Submitted), Follow (answered with Update frames until the
job has ended) and Cancel; each carries an `id` of the client's choice, which the answers repeat.
An error is answered with Failed and ends nothing but that request.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from bcai.jobs.job import JobEvent
from bcai.wire.jobs import JobView, Problem
from bcai.wire.submission import JobSubmission


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Submit(_Message):
    """Submit a job."""

    type: Literal["submit"] = "submit"
    id: str = Field(max_length=64)
    job: JobSubmission
    idempotency_key: str | None = Field(default=None, max_length=128)


class Follow(_Message):
    """Send the job's events from a cursor on, until it has ended."""

    type: Literal["follow"] = "follow"
    id: str = Field(max_length=64)
    job_id: str
    after: int = Field(default=0, ge=0, le=2**53)


class CancelJob(_Message):
    """Cancel a job."""

    type: Literal["cancel"] = "cancel"
    id: str = Field(max_length=64)
    job_id: str


class Submitted(_Message):
    """The job is durable."""

    type: Literal["submitted"] = "submitted"
    id: str
    job: JobView


class Update(_Message):
    """New events of a followed job; `job` is set with the last frame, once it has ended.

    `skipped` counts events that this watcher was too slow for: it may read them from the store.
    """

    type: Literal["update"] = "update"
    id: str
    events: list[JobEvent]
    skipped: int = 0
    job: JobView | None = None


class Failed(_Message):
    """The request with this id failed."""

    type: Literal["failed"] = "failed"
    id: str
    problem: Problem


FromClient = Annotated[Submit | Follow | CancelJob, Field(discriminator="type")]
ToClient = Annotated[Submitted | Update | Failed, Field(discriminator="type")]
FROM_CLIENT: TypeAdapter[FromClient] = TypeAdapter(FromClient)
TO_CLIENT: TypeAdapter[ToClient] = TypeAdapter(ToClient)
