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

    A turn is as many calls as fit into `turn_s`, at least one, as in a training loop. The calls of
    its first half do not count, nor do the first two rounds: threads of the contestant before wait
    busily for more work for some milliseconds, and hold the processors.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(rounds + 2):
        for name, run in contestants.items():
            turn = time.perf_counter()
            while True:
                begun, started = time.perf_counter(), clock()
                run()
                seconds, ended = clock() - started, time.perf_counter()
                if round_ >= 2 and (begun - turn > turn_s / 2 or not times[name]):
                    times[name].append(seconds)
                if ended - turn > turn_s:
                    break
    return {name: statistics.median(each) for name, each in times.items()}


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
