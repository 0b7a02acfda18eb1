"""What the watchdog of a jail makes of what the kernel counts."""

import os
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.bridge.sandbox import watchdog
from bcai.bridge.sandbox.watchdog import RecentKills, Watchdog, is_full


def test_a_kill_of_long_ago_or_of_before_the_job_explains_no_ending() -> None:
    count, now = 5, 0.0
    kills = RecentKills(lambda: count, lambda: now)
    assert not kills.look(), "it was before the job"
    count = 6
    assert kills.look(), "it is now"
    now = 0.9
    assert kills.look(), "a process with much memory takes its time to go"
    for _ in range(3):
        now += 1.0
        kills.look()
    assert not kills.look(), "whoever ends now was not killed then"


@pytest.mark.parametrize("gone", [1, 20_000])
def test_a_process_that_nobody_waited_for_counts_however_many_came_before(
    gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = {str(pid): 0 for pid in range(2, 2 + gone)}

    def read(path: str) -> bytes:
        return _stat(path.split("/")[2], ticks)

    def no_children(who: int) -> resource.struct_rusage:
        del who  # this process has had children of its own
        return resource.struct_rusage((0,) * 16)

    monkeypatch.setattr(watchdog, "_read", read)
    monkeypatch.setattr(resource, "getrusage", no_children)
    hertz = os.sysconf("SC_CLK_TCK")
    looking = Watchdog(1 << 30, cpu_s=10.0)
    looking.look_at_time(list(ticks))
    for worked_s, violation in ((6, ""), (6, "cpu")):
        child = str(max(map(int, ticks)) + 1)
        ticks.clear()
        ticks[child] = worked_s * hertz
        looking.look_at_time([child])
        assert looking.violation == violation
        looking.look_at_time([])  # it has ended, and nobody was told how much it used


def _stat(pid: str, ticks: dict[str, int]) -> bytes:
    """What /proc says of a process that was born when its number was given out."""
    fields = ["S", *["0"] * 30]
    fields[11], fields[19] = str(ticks[pid]), pid
    return f"{pid} (a name) {' '.join(fields)}".encode()


@given(st.integers(1, 1 << 30))
def test_a_disk_is_full_when_nothing_is_left_and_never_when_it_is_empty(pages: int) -> None:
    size = pages * 4096
    assert is_full(size, 0)
    assert not is_full(size, size)
    assert not is_full(size, max(size // 2, 64 * 1024))


@pytest.mark.parametrize(
    ("shares", "violation"),
    [
        # two processes share 200 MiB; the second's share is read after the first has ended
        ([(100, 200), (200,)], ""),
        ([(100, 200), (150, 150)], "memory"),
        ([(100, 200), (None, 10)], "memory"),
        ([(None,)], "memory"),
    ],
)
def test_memory_that_dying_processes_share_is_not_counted_for_each(
    shares: list[tuple[int | None, ...]], violation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = [{str(place): each for place, each in enumerate(found, 2)} for found in shares]
    now: dict[str, int | None] = {}

    def processes() -> list[str]:
        now.clear()
        now.update(rounds.pop(0))
        return list(now)

    def share_bytes(name: str) -> int | None:
        share = now[name]
        return None if share is None else share << 20

    monkeypatch.setattr(watchdog, "_processes", processes)
    monkeypatch.setattr(watchdog, "_own_share_bytes", share_bytes)

    def read(path: str) -> bytes:
        return b"1048576 1048576 0" if path.endswith("/statm") else b""

    monkeypatch.setattr(watchdog, "_read", read)
    monkeypatch.setattr(watchdog.mounts, "WORK", "/")
    looking = Watchdog(256 << 20)
    looking.look()
    assert looking.violation == violation
