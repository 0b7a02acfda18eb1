"""What evidence costs while a run goes on: trainings with the default trace against without.

    python -m bench.proof_recorder [--works mlp-32 ...] [--threads 1 2] [--every 10 100]
        [--rounds 21]

Prints a table and writes bench/results/proof_recorder.json. A turn is a training of some steps, and
turns alternate; a figure is the median of what a turn with a recorder took beside the ones around
it. Large states are hashed beside the steps, as a node does. On one thread it is processor time,
all threads of the process together; on several it is time on the wall, since threads that wait for
work wait busily.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.trainings import TRAINED, Training

from bcai.proof.recorder import Recorder

RESULTS = Path(__file__).parent / "results" / "proof_recorder.json"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--works", nargs="+", default=list(TRAINED), choices=list(TRAINED))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--every", nargs="+", type=int, default=[None], help="default: as fit does")
    parser.add_argument("--rounds", type=int, default=21)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print(f"{'work':<16}{'threads':>8}{'K':>5}{'state MB':>10}{'step ms':>10}{'trace':>9}")
    with ThreadPoolExecutor(1) as executor:
        for name in given.works:
            for threads in given.threads:
                for every in given.every:
                    rows.append(measure(name, threads, every, given.rounds, executor))
    machine = {"processor": platform.processor(), "python": platform.python_version()}
    RESULTS.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


def measure(
    name: str, threads: int, every: int | None, rounds: int, executor: Executor
) -> dict[str, Any]:
    training = Training(name, threads, every)
    clock = time.process_time if threads == 1 else time.perf_counter
    beside = executor if training.is_large else None

    def recorded() -> None:
        recorder = Recorder(training.run, fixed=training.fixed, executor=beside)
        training.recorded(recorder)
        recorder.finish()

    recorded()
    plain = [_seconds(training.plain, clock)]
    more: list[float] = []
    for _ in range(rounds):
        took = _seconds(recorded, clock)
        plain.append(_seconds(training.plain, clock))
        more.append(took / statistics.mean(plain[-2:]) - 1)
    row = {
        "work": name, "threads": threads, "every": training.run.checkpoint_every,
        "state_mb": round(training.state_bytes / 1e6, 2),
        "step_ms": round(statistics.median(plain) / training.run.steps * 1e3, 4),
        "trace": round(statistics.median(more), 4),
    }  # fmt: skip
    print(f"{name:<16}{threads:>8}{row['every']:>5}{row['state_mb']:>10.2f}{row['step_ms']:>10.3f}"
          f"{row['trace']:>+9.1%}")  # fmt: skip
    return row


def _seconds(act: Callable[[], None], clock: Callable[[], float]) -> float:
    started = clock()
    act()
    return clock() - started


if __name__ == "__main__":
    main()
