"""Where a job goes when an attempt ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.errors import ConflictError
from bcai.cluster.store.verdict import RETRY_DELAY_S_MAX, judge, retry_delay_s
from bcai.jobs.job import Attempt, Job
from bcai.jobs.outcome import Outcome, Reason, ReasonCode
from bcai.jobs.spec import JobSpec
from bcai.jobs.states import MOVES, JobState, Move

REASON = Reason(ReasonCode.NODE_LOST, "gone")


def job(state: JobState, *, attempts: int = 1, max_retries: int = 3, cancel: bool = False) -> Job:
    return Job(
        id="job_1",
        owner="ann",
        spec=JobSpec("job", code="1", max_retries=max_retries),
        state=state,
        created_at=0.0,
        updated_at=0.0,
        lock_token="token",
        attempts=tuple(
            Attempt(number, "node-1", "laptop", 0.0, reason=REASON if number < attempts else None)
            for number in range(1, attempts + 1)
        ),
        cancel_requested=cancel,
    )


@given(
    state=st.sampled_from(JobState),
    move=st.sampled_from(Move),
    attempts=st.integers(0, 5),
    max_retries=st.integers(0, 4),
    cancel=st.booleans(),
)
def test_every_end_is_one_of_the_table(
    state: JobState, move: Move, attempts: int, max_retries: int, cancel: bool
) -> None:
    given_job = job(state, attempts=attempts, max_retries=max_retries, cancel=cancel)
    try:
        verdict = judge(given_job, Outcome(move, REASON))
    except ConflictError:
        return
    assert verdict.state in {MOVES[key] for key in MOVES if key[0] is state}
    if verdict.outcome is not None:
        assert MOVES[state, verdict.outcome.move] is verdict.state
    if verdict.state is JobState.QUEUED:
        assert attempts <= max_retries
        assert not cancel
        assert verdict.delay_s > 0


@pytest.mark.parametrize(
    ("attempts", "delay_s"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 32.0), (8, 60.0), (101, 60.0)]
)
def test_delay_doubles_up_to_a_minute(attempts: int, delay_s: float) -> None:
    assert retry_delay_s(attempts) == delay_s


@given(st.integers(0, 10_000))
def test_delay_is_bounded(attempts: int) -> None:
    assert 0 < retry_delay_s(attempts) <= RETRY_DELAY_S_MAX


def test_three_retries_are_four_attempts() -> None:
    lost = Outcome(Move.RETRY, REASON)
    assert judge(job(JobState.RUNNING, attempts=3), lost).state is JobState.QUEUED
    last = judge(job(JobState.RUNNING, attempts=4), lost)
    assert last.state is JobState.FAILED
    assert last.outcome is not None
    assert last.outcome.reason.message == (
        "no retry is left after 4 attempts; "
        "attempt 1 on laptop: gone; attempt 2 on laptop: gone; "
        "attempt 3 on laptop: gone; attempt 4 on laptop: gone"
    )


def test_cancel_beats_retry_but_not_success() -> None:
    asked = job(JobState.RUNNING, cancel=True)
    assert judge(asked, Outcome(Move.RETRY, REASON)).state is JobState.CANCELLED
    assert judge(asked, Outcome(Move.SUCCEED, REASON)).state is JobState.SUCCEEDED


@pytest.mark.parametrize("move", [Move.ASSIGN, Move.START])
@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.ASSIGNED])
def test_an_attempt_does_not_end_with_a_beginning(state: JobState, move: Move) -> None:
    with pytest.raises(ConflictError):
        judge(job(state), Outcome(move, REASON))
