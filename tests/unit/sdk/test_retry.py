"""The waits between tries grow, vary, and end."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from bcai.sdk.retry import RETRY_AFTER_S_MAX, TRIES_MAX, TRY_FOR_S_MAX, Backoff


def delays(backoff: Backoff) -> Iterator[float]:
    while (delay_s := backoff.delay_s()) is not None:
        yield delay_s


def test_the_waits_grow_to_a_limit() -> None:
    waits = list(delays(Backoff(clock=lambda: 0.0, jitter=lambda: 1.0)))
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert waits == sorted(waits)
    assert max(waits) == 5.0


@given(jitter=st.floats(0, 1))
def test_it_ends_whatever_the_jitter(jitter: float) -> None:
    waits = list(delays(Backoff(clock=lambda: 0.0, jitter=lambda: jitter)))
    assert len(waits) == TRIES_MAX - 1
    assert all(0.05 <= wait <= 5.0 for wait in waits)


def test_it_ends_when_the_time_is_up() -> None:
    now = iter([0.0, TRY_FOR_S_MAX + 1])
    backoff = Backoff(clock=lambda: next(now))
    assert backoff.delay_s() is not None
    assert backoff.delay_s() is None


def test_it_waits_as_long_as_it_was_asked_within_a_bound() -> None:
    def wait_s(asked_s: float) -> float | None:
        return Backoff(jitter=lambda: 1.0).delay_s(at_least_s=asked_s)

    assert wait_s(2.0) == 2.1
    assert wait_s(1e9) == RETRY_AFTER_S_MAX + 0.1


def test_success_begins_anew() -> None:
    backoff = Backoff(tries_max=2, clock=lambda: 0.0)
    assert backoff.delay_s() is not None
    backoff.reset()
    assert backoff.delay_s() is not None
    assert backoff.delay_s() is None
