"""The wait before the next try."""

from hypothesis import given
from hypothesis import strategies as st

from bcai.base.backoff import backoff_s

FAILURES = st.integers(min_value=1, max_value=10_000)
JITTER = st.floats(min_value=0, max_value=1)


@given(FAILURES, JITTER)
def test_the_wait_stays_under_its_cap(failures: int, jitter: float) -> None:
    assert 0.25 <= backoff_s(failures, first_s=0.5, most_s=30, jitter=jitter) <= 30


@given(FAILURES, JITTER)
def test_one_more_failure_never_shortens_the_wait(failures: int, jitter: float) -> None:
    now = backoff_s(failures, first_s=0.5, most_s=30, jitter=jitter)
    assert now <= backoff_s(failures + 1, first_s=0.5, most_s=30, jitter=jitter)


def test_the_wait_doubles_until_its_cap() -> None:
    waits = [backoff_s(count, first_s=1, most_s=10, jitter=1) for count in range(1, 7)]
    assert waits == [1, 2, 4, 8, 10, 10]


def test_jitter_spreads_over_the_upper_half() -> None:
    assert backoff_s(3, first_s=1, most_s=10, jitter=0) == 2
    assert backoff_s(3, first_s=1, most_s=10, jitter=0.5) == 3
