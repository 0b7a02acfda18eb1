"""One job while a transaction changes it: gathers changes and events, writes them once."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, insert, select, update

from bcai.base.errors import StaleError
from bcai.cluster.store.rows import dump, dump_plain, no_such_job, read_job
from bcai.cluster.store.settlements_sql import commit_result
from bcai.cluster.store.tables import ATTEMPTS, EVENTS, JOBS
from bcai.cluster.store.verdict import Verdict
from bcai.jobs.job import EventKind, Job
from bcai.jobs.outcome import Outcome, Reason
from bcai.jobs.states import JobState, Move, next_state
from bcai.wire.jobs import OUTCOME, REASON

_COLUMNS = (  # not the spec: it may be long, and no change but an attempt's end needs it
    JOBS.c.id,
    JOBS.c.state,
    JOBS.c.lock_token,
    JOBS.c.attempt,
    JOBS.c.event_count,
    JOBS.c.cancel_requested,
    JOBS.c.waiting,
    JOBS.c.node_id,
    JOBS.c.lease_until,
)


def new_lock_token() -> str:
    """Make a token that nobody can guess."""
    return secrets.token_hex(16)


@dataclass(slots=True)
class JobEdit:
    """One job under change. The row stays locked until the transaction ends.

    Events are numbered on from the job's own count, so their sequence has no gap.
    """

    connection: Connection
    job_id: str
    now: float
    state: JobState
    lock_token: str
    attempt: int
    cancel_requested: bool
    waiting: str | None
    node_id: str | None
    lease_until: float | None
    _event_count: int
    _stored_token: str
    _changes: dict[str, Any] = field(default_factory=dict[str, Any])
    _events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @classmethod
    def find(cls, connection: Connection, job_id: str, now: float) -> "JobEdit | None":
        """Lock a job; None if there is none."""
        query = select(*_COLUMNS).where(JOBS.c.id == job_id).with_for_update()
        row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return cls(
            connection=connection,
            job_id=job_id,
            now=now,
            state=JobState(row.state),
            lock_token=row.lock_token,
            attempt=row.attempt,
            cancel_requested=row.cancel_requested,
            waiting=row.waiting,
            node_id=row.node_id,
            lease_until=row.lease_until,
            _event_count=row.event_count,
            _stored_token=row.lock_token,
        )

    @classmethod
    def open(
        cls, connection: Connection, job_id: str, now: float, *, lock_token: str | None = None
    ) -> "JobEdit":
        """Lock a job, if its token is still `lock_token` (None: whatever it is).

        Raises
        ------
        NotFoundError, StaleError
        """
        edit = cls.find(connection, job_id, now)
        if edit is None:
            raise no_such_job(job_id)
        if lock_token is not None and edit.lock_token != lock_token:
            raise stale(job_id)
        return edit

    def change(self, **columns: Any) -> None:
        """Set columns of the job's row."""
        self._changes |= columns

    def renew_token(self) -> str:
        """Fence off everybody who held the job until now; return the new token."""
        self.lock_token = new_lock_token()
        self.change(lock_token=self.lock_token)
        return self.lock_token

    def move(
        self,
        move: Move,
        *,
        reason: Reason | None = None,
        node: str | None = None,
        report: int | None = None,
    ) -> None:
        """Take the job to its next state and say so in its history. Raises ConflictError."""
        self.state = next_state(self.state, move)
        self.change(state=self.state)
        self.emit(
            EventKind.STATE, state_body(self.state, reason, self.attempt, node), report=report
        )

    def emit(
        self,
        kind: EventKind,
        body: dict[str, object],
        *,
        at: float | None = None,
        report: int | None = None,
    ) -> None:
        """Add an event; `report` is the number of the node's report that it comes from."""
        self._event_count += 1
        self.change(event_count=self._event_count)
        self._events.append(
            event_row(
                self.job_id,
                self._event_count,
                kind,
                body,
                at=self.now if at is None else at,
                attempt=self.attempt,
                report=report,
            )
        )

    def close_attempt(
        self,
        job: Job,
        outcome: Outcome,
        verdict: Verdict,
        *,
        report: int | None = None,
        parks: bool = False,
    ) -> None:
        """End the current attempt, and take the job where the verdict says.

        Parameters
        ----------
        job
            As it was until now.
        parks
            It waits for other nodes instead of ending: RUNNING, on no node.
        """
        ended = verdict.outcome
        self.connection.execute(
            update(ATTEMPTS)
            .where(ATTEMPTS.c.job_id == self.job_id, ATTEMPTS.c.number == self.attempt)
            .values(ended_at=self.now, reason=dump(REASON, outcome.reason))
        )
        self.change(lease_until=None)
        self.renew_token()
        if ended is not None and parks:
            self._park(ended, report)
            return
        if ended is None:
            self.change(
                node_id=None, started_at=None, progress=0.0, not_before=self.now + verdict.delay_s
            )
        else:
            self.change(finished_at=self.now, outcome=dump(OUTCOME, ended), waiting=None)
        if verdict.state is JobState.SUCCEEDED:
            self.change(progress=1.0)
            commit_result(self.connection, job, outcome, secrets.token_hex(16), self.now)
        self.move(
            ended.move if ended else Move.RETRY,
            reason=ended.reason if ended else outcome.reason,
            report=report,
        )

    @property
    def is_parked(self) -> bool:
        """Whether its node has answered, and others have not."""
        return self.state is JobState.RUNNING and self.node_id is None

    def _park(self, outcome: Outcome, report: int | None) -> None:
        """Keep the outcome until others are in."""
        if self.state is JobState.ASSIGNED:  # a node may refuse before it starts
            self.move(Move.START)
        self.change(node_id=None, outcome=dump(OUTCOME, outcome), waiting=None)
        self.emit(EventKind.NOTE, {"text": "its first node is done"}, report=report)

    def finish(self, outcome: Outcome, *, node_id: str) -> None:
        """End a parked job."""
        self.change(finished_at=self.now, outcome=dump(OUTCOME, outcome), node_id=node_id or None)
        if outcome.move is Move.SUCCEED:
            self.change(progress=1.0)
        self.renew_token()
        self.move(outcome.move, reason=outcome.reason)

    def save(self) -> None:
        """Write what has gathered, if the job's token is still what it was."""
        if self._events:
            self.connection.execute(insert(EVENTS), self._events)
        if self._changes:
            done = self.connection.execute(
                update(JOBS)
                .where(JOBS.c.id == self.job_id, JOBS.c.lock_token == self._stored_token)
                .values(updated_at=self.now, **self._changes)
            )
            if done.rowcount != 1:
                raise stale(self.job_id)
        self._stored_token = self.lock_token
        self._changes, self._events = {}, []

    def saved(self) -> Job:
        """Write what has gathered and return the job."""
        self.save()
        return read_job(self.connection, self.job_id)


def stale(job_id: str) -> StaleError:
    """Describe a writer who comes too late."""
    return StaleError(f"job {job_id} changed hands meanwhile")


def state_body(
    state: JobState, reason: Reason | None = None, attempt: int = 0, node: str | None = None
) -> dict[str, object]:
    """What a STATE event tells."""
    body: dict[str, object] = {"state": str(state)}
    if reason is not None:
        body["reason"] = REASON.dump_python(reason, mode="json")
    if attempt:
        body["attempt"] = attempt
    if node is not None:
        body["node"] = node
    return body


def event_row(
    job_id: str,
    sequence: int,
    kind: EventKind,
    body: dict[str, object],
    *,
    at: float,
    attempt: int = 0,
    report: int | None = None,
) -> dict[str, Any]:
    """One row of the events' table."""
    return {
        "job_id": job_id,
        "sequence": sequence,
        "at": at,
        "attempt": attempt,
        "report": report,
        "kind": str(kind),
        "body": dump_plain(body),
    }
