"""A job's events arrive once and in order, whatever happens to the connection."""

from collections.abc import AsyncGenerator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcai.base.errors import NotFoundError, UnreachableError
from bcai.jobs.states import JobState
from bcai.sdk import notices
from bcai.sdk.retry import TRIES_MAX
from bcai.sdk.stream import Watch, follow_job
from bcai.sdk.transport import Transport
from bcai.wire.clients import Update

from .fake_gateway import FakeGateway, job_view, log

pytestmark = pytest.mark.anyio
ENDED = job_view()


def update(*sequences: int, ended: bool = False, skipped: int = 0) -> Update:
    events = [log(sequence, f"line {sequence}\n") for sequence in sequences]
    return Update(id="1", events=events, skipped=skipped, job=ENDED if ended else None)


def watch(*connections: Sequence[Update | Exception | None]) -> tuple[Watch, list[int]]:
    """Play one list of frames per connection; return also from where each was asked to begin."""
    cursors: list[int] = []
    plays = iter(connections)

    async def play(
        _transport: Transport, _job_id: str, after: int
    ) -> AsyncGenerator[Update | None, None]:
        cursors.append(after)
        for frame in next(plays):
            if isinstance(frame, Exception):
                raise frame
            yield frame

    return play, cursors


async def sequences(transport: Transport, play: Watch, after: int = 0) -> list[int]:
    seen: list[int] = []
    async for batch in follow_job(transport, "job_1", after, watch=play):
        seen += [event.sequence for event in batch.events]
    return seen


async def test_it_follows_to_the_end(transport: Transport) -> None:
    play, _ = watch([update(1, 2), update(), update(3, ended=True)])
    assert await sequences(transport, play) == [1, 2, 3]


async def test_after_a_break_it_goes_on_from_its_cursor(transport: Transport) -> None:
    gone = UnreachableError("reset")
    play, cursors = watch([update(1, 2), gone], [gone], [update(3, ended=True)])
    assert await sequences(transport, play) == [1, 2, 3]
    assert cursors == [0, 2, 2]


async def test_a_gateway_that_stops_cleanly_is_no_end(transport: Transport) -> None:
    play, cursors = watch([update(1)], [update(2, ended=True)])
    assert await sequences(transport, play) == [1, 2]
    assert cursors == [0, 1]


async def test_what_is_told_twice_is_passed_on_once(transport: Transport) -> None:
    play, _ = watch([update(1, 2), update(2, 3), update(1, 2, 3, 4, ended=True)])
    assert await sequences(transport, play) == [1, 2, 3, 4]


async def test_what_was_skipped_is_read_from_the_store(
    transport: Transport, gateway: FakeGateway
) -> None:
    gateway.events = [log(number, "") for number in range(1, 10)]
    play, _ = watch([update(1), update(7, 8, skipped=5), update(9, ended=True)])
    assert await sequences(transport, play) == list(range(1, 10))


async def test_nothing_is_left_out_when_the_skipped_ones_are_the_last(
    transport: Transport, gateway: FakeGateway
) -> None:
    gateway.events = [log(number, "") for number in range(1, 6)]
    play, _ = watch([update(1), update(skipped=4, ended=True)])
    assert await sequences(transport, play) == [1, 2, 3, 4, 5]


async def test_it_ends_with_the_job_though_the_gateway_never_says_so(
    transport: Transport, gateway: FakeGateway
) -> None:
    gateway.events = [log(number, "") for number in range(1, 6)]
    gateway.views["job_1"] = ENDED
    play, cursors = watch([update(1), None, update(2), update(99, ended=True)])
    assert await sequences(transport, play) == [1, 2, 3, 4, 5]
    assert cursors == [0]


async def test_a_silent_job_is_waited_for(transport: Transport, gateway: FakeGateway) -> None:
    gateway.views["job_1"] = job_view(JobState.RUNNING)
    play, cursors = watch([update(1), None, None, update(2, ended=True)])
    assert await sequences(transport, play) == [1, 2]
    assert cursors == [0]


async def test_a_break_is_told_once(
    transport: Transport, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "_seen", set[str]())
    transport.reached = True
    gone = UnreachableError("reset")
    play, _ = watch([update(1), gone], [gone], [update(2), gone], [update(3, ended=True)])
    assert await sequences(transport, play) == [1, 2, 3]
    assert [record.getMessage() for record in caplog.records] == [
        "bcai: the connection to the network broke; trying again"
    ]


async def test_an_error_of_the_callers_is_raised_at_once(transport: Transport) -> None:
    play, cursors = watch([NotFoundError("no such job")])
    with pytest.raises(NotFoundError):
        await sequences(transport, play)
    assert len(cursors) == 1


async def test_it_gives_up_on_a_gateway_that_never_comes_back(transport: Transport) -> None:
    play, _ = watch(*([[UnreachableError("refused")]] * 100))
    with pytest.raises(UnreachableError):
        await sequences(transport, play)


async def test_breaks_that_are_survived_do_not_add_up(transport: Transport) -> None:
    count = 3 * TRIES_MAX
    gone = UnreachableError("reset")
    plays = [[update(number), gone] for number in range(1, count)]
    play, _ = watch(*plays, [update(count, ended=True)])
    assert await sequences(transport, play) == list(range(1, count + 1))


@settings(max_examples=50, deadline=None)
@given(
    count=st.integers(1, 30),
    cuts=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 30)), max_size=30),
)
async def test_any_cut_of_the_stream_gives_the_same_events(
    count: int, cuts: list[tuple[int, int]]
) -> None:
    transport = Transport(None, None, True, 30.0, reached=True, sleep=_no_wait)
    coming = iter(cuts)

    async def play(_transport: Transport, _job_id: str, after: int) -> AsyncGenerator[Update, None]:
        repeated, length = next(coming, (0, count))
        begin = max(0, after - repeated)  # it may repeat what is known
        end = min(after + length, count)
        yield update(*range(begin + 1, end + 1), ended=end == count)
        if end < count:
            raise UnreachableError("reset")

    assert await sequences(transport, play) == list(range(1, count + 1))


async def _no_wait(_delay_s: float) -> None:
    pass
