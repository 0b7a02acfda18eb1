"""Where the time of a native program goes: every launch of a work of `models.py`, timed alone.

    python bench/native_profile.py transformer-8 [--threads 1] [--rounds 10] [--top 25]

Times are thread or wall seconds of each record of the tape, run one at a time; the sum is more
than a whole run takes, by a few microseconds a launch.
"""

import argparse
import statistics
import time
from collections import defaultdict
from typing import Any

import torch
from models import WORKS
from native_steps import Native

from bcai.vm.backends.native.launch import Launch
from bcai.vm.backends.native.pool import Pool
from bcai.vm.backends.native.prepare import plan
from bcai.vm.backends.native.refusal import keep_refusals
from bcai.vm.backends.native.steps import lower_plan
from bcai.vm.compiler.expand import expand


def profile(name: str, threads: int, rounds: int) -> tuple[list[Launch], list[float]]:
    """Launches and the median seconds of each."""
    torch.manual_seed(0)
    native = Native(WORKS[name](), threads)
    executable = native.executable
    planned = plan(keep_refusals(expand(executable.program)))
    steps = lower_plan(planned, executable._machine.target, executable._machine.threads)
    launches = list(steps.launches)
    times: list[list[float]] = [[] for _ in launches]
    plain = Pool.run

    def run(self: Pool, tape: Any, start: int, count: int, scratch_bytes: int) -> int:
        for place in range(start, start + count):
            began = time.perf_counter() if threads > 1 else time.thread_time()
            fault = plain(self, tape, place, 1, scratch_bytes)
            ended = time.perf_counter() if threads > 1 else time.thread_time()
            times[place].append(ended - began)
            if fault >= 0:
                return fault
        return -1

    native()
    Pool.run = run
    for _ in range(rounds):
        native()
    Pool.run = plain
    return launches, [statistics.median(each) for each in times]


def main() -> None:
    """Print kernels by the time they take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=list(WORKS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--top", type=int, default=25)
    arguments = parser.parse_args()
    launches, seconds = profile(arguments.work, arguments.threads, arguments.rounds)
    total = sum(seconds)
    groups: dict[str, list[tuple[float, Launch]]] = defaultdict(list)
    for launch, each in zip(launches, seconds, strict=True):
        numbers = tuple(a for a in launch.arguments if isinstance(a, int))
        groups[f"{launch.kernel.symbol} {numbers}"].append((each, launch))
    print(f"{arguments.work}: {len(launches)} launches, {1e3 * total:.2f} ms")
    ordered = sorted(groups.items(), key=lambda item: -sum(each for each, _ in item[1]))
    for key, found in ordered[: arguments.top]:
        spent = sum(each for each, _ in found)
        kernel: Any = found[0][1].kernel
        text = getattr(kernel, "summary", "") or type(kernel).__name__
        print(f"{100 * spent / total:5.1f} %  {1e3 * spent:8.3f} ms  {len(found):4} x  {key[:110]}")
        print(f"{'':10} {text}  units {found[0][1].units}  grain {found[0][1].grain}")


if __name__ == "__main__":
    main()
