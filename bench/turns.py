"""Contestants that take turns in one process, neither waiting for the threads of another."""

import statistics
import time
from collections.abc import Callable
from typing import Any

TURN_S = 0.05


def turns(
    contestants: dict[str, Callable[[], Any]],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    turn_s: float = TURN_S,
) -> dict[str, float]:
    """Median seconds of one call of each, by `clock`.

    A turn is as many calls as fit into `turn_s`, at least two, as in a training loop; one call if
    `turn_s` is 0. The calls of its first half do not count, nor do the first two rounds: threads of
    the contestant before wait busily for more work for some milliseconds, and hold the processors.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(rounds + 2):
        for name, run in contestants.items():
            found = _turn(run, clock, turn_s)
            if round_ >= 2:
                times[name] += found
    return {name: statistics.median(each) for name, each in times.items()}


def _turn(run: Callable[[], Any], clock: Callable[[], float], turn_s: float) -> list[float]:
    """Seconds of the calls that count."""
    calls: list[tuple[float, float]] = []
    start = time.perf_counter()
    while True:
        begun, before = time.perf_counter() - start, clock()
        run()
        calls.append((begun, clock() - before))
        if time.perf_counter() - start > turn_s and (len(calls) > 1 or not turn_s):
            break
    return [seconds for begun, seconds in calls if begun > turn_s / 2] or [calls[-1][1]]


def in_turns(
    native: Callable[[], Any], vendor: Callable[[], Any], rounds: int, threads: int
) -> tuple[float, float]:
    """Median seconds of a kernel on both sides: turn about in time of the thread where there is one
    thread; in turns and time on the wall, and fewer rounds, where there are several.
    """
    contestants = {"native": native, "vendor": vendor}
    if threads == 1:
        found = turns(contestants, rounds, clock=time.thread_time, turn_s=0.0)
    else:
        found = turns(contestants, max(5, rounds // 10), turn_s=0.02)
    return found["native"], found["vendor"]
