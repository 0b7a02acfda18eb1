"""What nodes report about their attempts, each report written at most once."""

import math
from collections.abc import Sequence

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import DataError

from bcai.base.errors import ConflictError, StaleError
from bcai.cluster.store.edit import JobEdit, stale
from bcai.cluster.store.ending import end_attempt
from bcai.cluster.store.faults import fault_of
from bcai.cluster.store.tables import ATTEMPTS, EVENTS
from bcai.jobs.job import EventKind
from bcai.jobs.outcome import Outcome, Reason, ReasonCode
from bcai.jobs.states import JobState, Move
from bcai.wire.nodes import Finished, Log, Metric, Progress, Report, Started

_HELD = (JobState.ASSIGNED, JobState.RUNNING)


def record(
    connection: Connection, node_id: str, reports: Sequence[Report], now: float
) -> list[StaleError | None]:
    """Apply reports in order; one answer each, None if it is written (now or before)."""
    answers: list[StaleError | None] = [None] * len(reports)
    attempts: dict[tuple[str, str], list[int]] = {}
    for place, report in enumerate(reports):
        attempts.setdefault((report.job_id, report.lock_token), []).append(place)
    # Sorted, so that two gateways lock the same jobs in the same order.
    for (job_id, lock_token), places in sorted(attempts.items()):
        own = [reports[place] for place in places]
        written = _record_attempt(connection, node_id, job_id, lock_token, own, now)
        for place, done in zip(places, written, strict=True):
            answers[place] = None if done else stale(job_id)
    return answers


def _record_attempt(
    connection: Connection,
    node_id: str,
    job_id: str,
    lock_token: str,
    reports: Sequence[Report],
    now: float,
) -> list[bool]:
    """Apply one attempt's reports; True for each that is written."""
    edit = JobEdit.find(connection, job_id, now)
    query = select(ATTEMPTS.c.number).where(
        ATTEMPTS.c.job_id == job_id,
        ATTEMPTS.c.lock_token == lock_token,
        ATTEMPTS.c.node_id == node_id,
    )
    attempt = connection.execute(query).scalar_one_or_none()
    if edit is None or attempt is None:
        return [False] * len(reports)
    try:
        with connection.begin_nested():
            known = _known_reports(connection, job_id, attempt, reports)
            return _apply_all(edit, lock_token, reports, known)
    except (DataError, UnicodeError, OverflowError) as error:
        # Sent again it would fail again, for ever: so it ends the job, if that is still its own.
        edit = JobEdit.open(connection, job_id, now)
        if edit.lock_token == lock_token and edit.state in _HELD:
            message = f"the node sent a report that cannot be stored: {fault_of(error)}"
            end_attempt(edit, Outcome(Move.FAIL, Reason(ReasonCode.NODE_ERROR, message)))
            edit.save()
        return [False] * len(reports)


def _apply_all(
    edit: JobEdit, lock_token: str, reports: Sequence[Report], known: set[int]
) -> list[bool]:
    """Write one attempt's reports that are not known yet; True for each that is written."""
    written: list[bool] = []
    for report in reports:
        if report.number not in known:
            if edit.lock_token != lock_token or edit.state not in _HELD:
                written.append(False)
                continue
            _apply(edit, report)
            known.add(report.number)
        written.append(True)
    edit.save()
    return written


def _known_reports(
    connection: Connection, job_id: str, attempt: int, reports: Sequence[Report]
) -> set[int]:
    """Numbers of this attempt's reports that are written, near those that came."""
    numbers = [report.number for report in reports]
    query = select(EVENTS.c.report).where(
        EVENTS.c.job_id == job_id,
        EVENTS.c.attempt == attempt,
        EVENTS.c.report.between(min(numbers), max(numbers)),
    )
    return set(connection.execute(query).scalars())


def _apply(edit: JobEdit, report: Report) -> None:
    body, number = report.body, report.number
    match body:
        case Started():
            _start(edit, number)
        case Log():
            line: dict[str, object] = {"stream": body.stream, "text": body.text}
            edit.emit(EventKind.LOG, line, at=_moment(body.at, edit), report=number)
        case Metric():
            metric: dict[str, object] = {
                "step": body.step,
                "values": {name: _finite(value) for name, value in body.values.items()},
            }
            edit.emit(EventKind.METRIC, metric, at=_moment(body.at, edit), report=number)
        case Progress():
            edit.change(progress=body.fraction)
            fraction: dict[str, object] = {"fraction": body.fraction}
            edit.emit(EventKind.PROGRESS, fraction, at=_moment(body.at, edit), report=number)
        case Finished():
            _finish(edit, body.outcome, number)


def _start(edit: JobEdit, number: int) -> None:
    """Begin to run; a second start, under another number, tells nothing new."""
    if edit.state is not JobState.ASSIGNED:
        return
    edit.connection.execute(
        update(ATTEMPTS)
        .where(ATTEMPTS.c.job_id == edit.job_id, ATTEMPTS.c.number == edit.attempt)
        .values(started_at=edit.now)
    )
    edit.change(started_at=edit.now)
    edit.move(Move.START, report=number)


def _finish(edit: JobEdit, outcome: Outcome, number: int) -> None:
    try:
        end_attempt(edit, outcome, report=number)
    except ConflictError as error:  # no such end exists: the node is broken, not the job
        if isinstance(error, StaleError):
            raise
        reason = Reason(ReasonCode.NODE_ERROR, f"the node reported an impossible end: {error}")
        end_attempt(edit, Outcome(Move.RETRY, reason), report=number)


def _moment(at: float, edit: JobEdit) -> float:
    """The node's time of an event, unless that is no time at all."""
    return at if math.isfinite(at) else edit.now


def _finite(value: float | str) -> float | str:
    """JSON has no word for not-a-number and the infinities; the wire's word is their text."""
    return value if isinstance(value, str) or math.isfinite(value) else str(float(value))
