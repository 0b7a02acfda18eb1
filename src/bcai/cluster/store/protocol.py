"""What the gateway and the scheduler ask of the store. Everything is durable when it returns.

Every write to a job names the lock token it believes current (or is one that only an
unassigned job allows); a stale one raises `StaleError` and changes nothing. An implementation
takes the clock as an argument.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from bcai.base.errors import StaleError
from bcai.jobs.dispute import DisputeRecord
from bcai.jobs.job import EventKind, Job, JobEvent
from bcai.jobs.node import Capabilities, Claim, Node
from bcai.jobs.outcome import Outcome, Reason
from bcai.jobs.spec import JobSpec
from bcai.jobs.states import JobState
from bcai.wire.nodes import Report


class Role(StrEnum):
    """What an API key may do."""

    CLIENT = "client"  # own jobs
    NODE = "node"  # take work, read and write blobs
    ADMIN = "admin"  # everything, everyone's jobs, keys


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, without its secret: only a hash of that is stored."""

    id: str
    name: str
    role: Role
    created_at: float
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of jobs, newest first; `next_cursor` is None on the last."""

    jobs: tuple[Job, ...]
    next_cursor: str | None


class JobStore(Protocol):
    """Jobs, their events, the nodes and the API keys."""

    async def start(self) -> None:
        """Open, migrate, and start the writer."""
        ...

    async def stop(self) -> None:
        """Finish what was accepted, then close."""
        ...

    # Jobs, by the gateway

    async def submit(
        self,
        owner: str,
        spec: JobSpec,
        *,
        warnings: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> tuple[Job, bool]:
        """Store a QUEUED job; return it and whether it is new.

        The same owner and idempotency key return the first job (False) if the spec is equal.

        Raises
        ------
        ConflictError
            The key was used with another spec.
        BusyError
            Too many jobs wait.
        """
        ...

    async def submitted_before(self, owner: str, spec: JobSpec, idempotency_key: str) -> Job | None:
        """Return the job that this owner's key has made, if any.

        Raises
        ------
        ConflictError
            It was made from another spec.
        """
        ...

    async def get(self, job_id: str) -> Job:
        """Return one job. Raises NotFoundError."""
        ...

    async def list_jobs(
        self,
        *,
        owner: str | None = None,
        state: JobState | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Return a page of jobs, newest first; `owner` None means everyone's."""
        ...

    async def request_cancel(self, job_id: str) -> Job:
        """Cancel a QUEUED job at once; mark an ASSIGNED or RUNNING one. Idempotent."""
        ...

    async def events(
        self,
        job_id: str,
        *,
        after: int = 0,
        limit: int = 1000,
        kinds: Sequence[EventKind] | None = None,
    ) -> list[JobEvent]:
        """Return a job's events with a sequence above `after`, oldest first."""
        ...

    # Attempts: gateway on behalf of a node

    async def record(self, node_id: str, reports: Sequence[Report]) -> list[StaleError | None]:
        """Apply reports in order, each at most once (by attempt and number).

        Started and Finished also move the job: RUNNING, then the outcome's move. A Finished
        whose outcome asks for RETRY goes back to the queue with back-off, or FAILED when no
        retry is left. One answer per report: None if it is durable.
        """
        ...

    async def assigned_to(self, node_id: str) -> list[Job]:
        """Jobs that are ASSIGNED to or RUNNING on a node (a cancel request stands on the job)."""
        ...

    # Attempts: the scheduler

    async def queued(self, limit: int = 100, *, room: Claim | None = None) -> list[Job]:
        """QUEUED jobs, oldest first; with `room` only those that ask for no more (slots apart)."""
        ...

    async def running(self) -> list[Job]:
        """ASSIGNED and RUNNING jobs."""
        ...

    async def assign(self, job: Job, node: Node, *, lease_s: float) -> Job:
        """QUEUED > ASSIGNED, with a new lock token and attempt number.

        Raises
        ------
        StaleError
            The job changed hands meanwhile.
        ConflictError
            It does not wait any more, or the jobs that the node has leave no room for it.
        """
        ...

    async def set_waiting(self, job: Job, waiting: Reason | None) -> None:
        """Say why a QUEUED job waits."""
        ...

    async def release(self, job: Job, reason: Reason, *, backoff_s: float) -> Job:
        """End a lost attempt: QUEUED again after `backoff_s`, FAILED when no retry is left.

        CANCELLED if that was asked for. Raises StaleError, also where its lease was renewed since.
        """
        ...

    async def finish(self, job: Job, outcome: Outcome) -> Job:
        """End a job from the scheduler's side (TIME_OUT, FAIL). Raises StaleError."""
        ...

    # Settlement: challengers, through the gateway

    async def audits_due(self, limit: int = 100) -> list[Job]:
        """Jobs whose result is COMMITTED and waits for its audit, oldest first."""
        ...

    async def settle(
        self,
        job_id: str,
        key: ApiKey,
        remark: str = "",
        *,
        agrees: bool = True,
        vouched: tuple[str, str] | None = None,
    ) -> Job:
        """SETTLED, by whoever has the API key, with the key and the text of its agreement.

        The same once more changes nothing; another agreement is added. Without `agrees` DISPUTED,
        with nobody who is blamed: a captured script may differ.

        Raises
        ------
        InputError
            It does not agree, and the job is not captured.
        NotFoundError
            No such job, or it asked for no check, or has no result.
        ForbiddenError
            The node that is audited came with this very key.
        ConflictError
            The result is settled or disputed already, otherwise.
        """
        ...

    # Disputes: both sides through the gateway, the referee in the scheduler

    async def open_dispute(
        self,
        job_id: str,
        key: ApiKey,
        *,
        size: int = 0,
        root: str = "",
        clock_s: float,
        accusation: tuple[str, str] = ("", ""),
        part: int | None = None,
    ) -> DisputeRecord:
        """Dispute a COMMITTED result with a trace of this head; each side has `clock_s` in all.

        The trace is that of the `part` at a leaf, where the job is captured. Or dispute it with an
        `accusation`, a code and a text, of something else that is not so. The same challenger with
        the same claim gets the dispute that goes on already.

        Raises
        ------
        NotFoundError
            No such job, or it has no result that asked for a check.
        ForbiddenError
            The key is the node's own, or has lost a dispute about this result.
        ConflictError
            The result is not COMMITTED any more, or is in dispute with another challenger.
        """
        ...

    async def dispute_of(self, job_id: str) -> DisputeRecord:
        """Return the last dispute about a result. Raises NotFoundError."""
        ...

    async def open_disputes(self, node_id: str | None = None) -> list[DisputeRecord]:
        """Disputes that go on, oldest first; with a node's id those against it."""
        ...

    async def say(self, job_id: str, key: ApiKey, number: int, answer: str | None) -> DisputeRecord:
        """Answer question `number` with a blob, or with nothing, for whoever has the key.

        Raises
        ------
        NotFoundError, ForbiddenError, ConflictError
            As `answered` in jobs/dispute.py; or the key is of neither side.
        """
        ...

    async def move_dispute(self, before: DisputeRecord, after: DisputeRecord) -> DisputeRecord:
        """Store the referee's next question or its ruling, which the settlement takes too.

        Raises StaleError if the dispute is not `before` any more.
        """
        ...

    async def restart_clocks(self) -> None:
        """Let all present questions' clocks run from now: no referee kept time meanwhile."""
        ...

    # Nodes

    async def node_seen(
        self,
        node_id: str,
        *,
        name: str | None = None,
        capabilities: Capabilities | None = None,
        key_id: str | None = None,
        held: Sequence[tuple[str, str]] = (),
        lease_s: float,
        signing_key: str | None = None,
    ) -> list[tuple[str, str]]:
        """Note a heartbeat; renew the leases of the held `(job_id, lock_token)` pairs.

        Return the pairs that are stale. With a hello comes the API key: a node's id belongs to
        the first one, until that is revoked. The key that it signs with is its own for ever.

        Raises
        ------
        ForbiddenError
            The node's id belongs to another key, or it signs with another, or with another node's.
        """
        ...

    async def nodes(self, *, online_within_s: float) -> list[Node]:
        """All nodes, with whether each was seen lately, what it runs and what that takes."""
        ...

    # API keys

    async def add_key(self, name: str, role: Role, secret: str) -> ApiKey:
        """Store a key's hash."""
        ...

    async def find_key(self, secret: str) -> ApiKey | None:
        """Return the live key with this secret."""
        ...

    async def list_keys(self) -> list[ApiKey]:
        """All keys, revoked ones too."""
        ...

    async def revoke_key(self, key_id: str) -> ApiKey:
        """Revoke a key. Idempotent. Raises NotFoundError."""
        ...

    # Waking up

    async def wait_for_change(self, timeout_s: float, *, seen: int | None = None) -> int:
        """Return soon after anybody's next commit (from any process), or after `timeout_s`.

        Who reads, waits and reads again passes what the last call returned as `seen` (0 the
        first time): then a commit between reading and waiting ends the wait at once.
        """
        ...


class BlobStore(Protocol):
    """Content-addressed bytes."""

    async def put(self, digest: str, chunks: AsyncIterator[bytes], *, size_max: int) -> int:
        """Store a stream under its digest, atomically; return its size.

        Raises FormatError if the bytes hash to something else, TooLargeError over `size_max`.
        """
        ...

    async def size(self, digest: str) -> int | None:
        """Size in bytes, or None if it is not here."""
        ...

    def read(self, digest: str) -> AsyncIterator[bytes]:
        """Stream the bytes, verified against the digest before the last chunk is given out.

        Raises NotFoundError, or FormatError when the disk's copy is damaged.
        """
        ...
