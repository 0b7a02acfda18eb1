"""Where a job goes when an attempt of it ends. Pure: the store writes down what this says."""

from dataclasses import dataclass, replace

from bcai.base.errors import ConflictError
from bcai.jobs.job import Job
from bcai.jobs.outcome import Outcome, Reason, ReasonCode
from bcai.jobs.states import JobState, Move, next_state

RETRY_DELAY_S = 0.5  # after the first attempt; doubles after each
RETRY_DELAY_S_MAX = 60.0
_REASON_LENGTH_MAX = 300  # of each attempt, in the list of them all


@dataclass(frozen=True, slots=True)
class Verdict:
    """A job's next state; `outcome` is set if that is final, `delay_s` if it is QUEUED."""

    state: JobState
    outcome: Outcome | None = None
    delay_s: float = 0.0


def judge(job: Job, outcome: Outcome, *, delay_s: float | None = None) -> Verdict:
    """Say where a job goes when its current attempt ends with `outcome`.

    Parameters
    ----------
    job
        The job with all its attempts, the current one last.
    delay_s
        Time before a retry; None: it doubles with each attempt.

    Raises
    ------
    ConflictError
        A job in this state cannot end like that.
    """
    if outcome.move in (Move.ASSIGN, Move.START):
        raise ConflictError(f"an attempt cannot end with {outcome.move}")
    if outcome.move is Move.RETRY and job.cancel_requested:
        outcome = _cancelled(outcome)
    elif outcome.move is Move.RETRY and len(job.attempts) > job.spec.max_retries:
        outcome = replace(outcome, move=Move.FAIL, reason=_exhausted(job, outcome.reason))
    state = next_state(job.state, outcome.move)
    if state.is_final:
        return Verdict(state, outcome)
    return Verdict(state, delay_s=retry_delay_s(len(job.attempts)) if delay_s is None else delay_s)


def retry_delay_s(attempts: int) -> float:
    """How long a job waits after this many attempts."""
    doublings = min(max(attempts - 1, 0), 32)  # many more than reach the maximum
    return min(RETRY_DELAY_S * 2.0**doublings, RETRY_DELAY_S_MAX)


def _cancelled(outcome: Outcome) -> Outcome:
    reason = Reason(
        ReasonCode.CANCELLED, f"cancelled; its last attempt had ended: {outcome.reason.message}"
    )
    return replace(outcome, move=Move.CANCEL, reason=reason)


def _exhausted(job: Job, last: Reason) -> Reason:
    """List every attempt's reason; the last attempt's is not written down yet."""
    lines: list[str] = []
    for attempt in job.attempts:
        reason = last if attempt.number == len(job.attempts) else attempt.reason
        text = reason.message if reason else "no reason is known"
        lines.append(
            f"attempt {attempt.number} on {attempt.node_name}: {text[:_REASON_LENGTH_MAX]}"
        )
    count = f"{len(lines)} attempts" if len(lines) != 1 else "1 attempt"
    return Reason(last.code, f"no retry is left after {count}; " + "; ".join(lines), last.hint)
