"""What evidence costs while a run goes on: steps with a recorder against steps without.

    python bench/proof_recorder.py [--works mlp-32 ...] [--every 10 100] [--rounds 15] [--cpu]

Prints a table and writes bench/results/proof_recorder.json. Turns alternate, figures are medians; a
turn is `every` steps with the one checkpoint that they end in, hashed between the steps and beside.
With --cpu it is processor time, all threads together: what remains sensible on a busy machine.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from models import WORKS

import bcai
from bcai.proof.execute import execute
from bcai.proof.feed import Feeder
from bcai.proof.recorder import Recorder, fixed_parameters
from bcai.proof.run import Constant, Run
from bcai.proof.schedule import Knot
from bcai.proof.state import canonical_tensors, tensors_root
from bcai.vm.backends.native.backend import NativeBackend
from bcai.vm.compiler.training_step import AdamW, training_step
from bcai.vm.isa.types import Array
from bcai.vm.program.merkle import program_root

RESULTS = Path(__file__).parent / "results" / "proof_recorder.json"
TRAINED = ["mlp-32", "cnn-32", "transformer-8"]


class Contestant:
    """One model's run, with its turns."""

    def __init__(self, name: str, every: int, clock: Callable[[], float]) -> None:
        self.clock = clock
        work: Any = WORKS[name]()
        forward, parameters = bcai.from_torch(
            work.model, (*work.inputs, work.target), loss="cross_entropy", train=True
        )
        step = training_step(forward, AdamW())
        self.program = step.program
        self.state = canonical_tensors({**parameters, **step.first_state})
        names = [port.name for port in self.program.program.inputs if port.name != "learning_rate"]
        given: Mapping[str, Array] = dict(
            zip(names, (each.numpy() for each in (*work.inputs, work.target)), strict=True)
        )
        self.run = Run(
            program_root(self.program.program), 1, every, tensors_root(self.state), 0,
            Constant(tensors_root(canonical_tensors(given)), tuple(given)),
            {"learning_rate": (Knot(0, 1e-3),)}, every,
        )  # fmt: skip
        self.feeder = Feeder(self.run, self.program, given)
        self.executable = NativeBackend().compile(self.program)

    def plain(self) -> float:
        """Seconds of a turn without a recorder."""
        started = self.clock()
        for _ in execute(self.feeder, self.program, self.executable, self.state):
            pass
        return self.clock() - started

    def recorded(self, executor: Executor | None) -> float:
        """Seconds of a turn with one; with an executor, what it still does is not waited for."""
        recorder = Recorder(self.run, fixed=fixed_parameters(self.program), executor=executor)
        started = self.clock()
        for step in execute(self.feeder, self.program, self.executable, self.state):
            recorder.record(*step)
        if executor is None:
            recorder.finish()
        took = self.clock() - started
        recorder.finish()
        return took


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--works", nargs="+", default=TRAINED, choices=list(WORKS))
    parser.add_argument("--every", nargs="+", type=int, default=[10, 100])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cpu", action="store_true")
    given = parser.parse_args()
    clock = time.process_time if given.cpu else time.perf_counter
    rows: list[dict[str, Any]] = []
    print(f"{'work':<22}{'K':>5}{'state MB':>10}{'step ms':>10}{'between':>10}{'beside':>10}")
    with ThreadPoolExecutor(1) as executor:
        for name in given.works:
            for every in given.every:
                rows.append(
                    measure(Contestant(name, every, clock), name, every, given.rounds, executor)
                )
    machine = {"processor": platform.processor(), "python": platform.python_version()}
    RESULTS.write_text(
        json.dumps({"machine": machine, "cpu_time": given.cpu, "rows": rows}, indent=1) + "\n"
    )


def measure(
    contestant: Contestant, name: str, every: int, rounds: int, executor: Executor
) -> dict[str, Any]:
    contestant.plain()
    between: list[float] = []
    beside: list[float] = []
    plain: list[float] = []
    for _ in range(rounds):
        plain.append(contestant.plain())
        between.append(contestant.recorded(None))
        plain.append(contestant.plain())
        beside.append(contestant.recorded(executor))
    base = statistics.median(plain)
    size = sum(each.nbytes for each in contestant.state.values()) / 1e6
    row = {
        "work": name, "every": every, "state_mb": round(size, 2),
        "step_ms": round(base / every * 1e3, 4),
        "between": round(statistics.median(between) / base - 1, 4),
        "beside": round(statistics.median(beside) / base - 1, 4),
    }  # fmt: skip
    print(f"{name:<22}{every:>5}{size:>10.2f}{row['step_ms']:>10.3f}"
          f"{row['between']:>+10.1%}{row['beside']:>+10.1%}")  # fmt: skip
    return row


if __name__ == "__main__":
    main()
