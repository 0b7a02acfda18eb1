"""What it costs to believe a training: to do it again, whole or one checkpoint of it, and to check.

    python -m bench.proof_replay [--works mlp-32 ...] [--threads 2] [--rounds 9]

Training, a whole replay and the replay of the middle checkpoint take turns; figures are medians.
Receipts are also those of longer runs of the same model, with checkpoints that are made up: what
a check looks at, and how long it takes, does not depend on them. Prints a table and writes
bench/results/proof_replay.json.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.trainings import TRAINED, Last, Training
from blake3 import blake3

from bcai.proof.check import check_receipt
from bcai.proof.commitment import UsageClaim
from bcai.proof.feed import indices_digest
from bcai.proof.issue import Circumstances, issue_receipt
from bcai.proof.keys import SigningKey
from bcai.proof.receipt import decode_receipt, encode_receipt
from bcai.proof.recorder import Checkpoint, Recorder, Trace
from bcai.proof.replay import replay
from bcai.proof.state import tensors_root

RESULTS = Path(__file__).parent / "results" / "proof_replay.json"
KEY = SigningKey.from_random(bytes(32))
PLACE = Circumstances("job", "native", "", "", "none", (), UsageClaim(), 0.0)
LONGER = (200, 10_000, 128_000)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--works", nargs="+", default=list(TRAINED), choices=list(TRAINED))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    replays: list[dict[str, Any]] = []
    receipts: list[dict[str, Any]] = []
    for name in given.works:
        training = Training(name, given.threads)
        recorder = Recorder(training.run, fixed=training.fixed)
        last = training.recorded(recorder)
        replays.append(replayed(training, recorder.finish(), given.rounds))
        receipts += [received(training, last, steps, given.rounds) for steps in LONGER]
    machine = {"processor": platform.processor(), "python": platform.python_version()}
    document = {"machine": machine, "replays": replays, "receipts": receipts}
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")


def replayed(training: Training, trace: Trace, rounds: int) -> dict[str, Any]:
    """Seconds of a training, of a replay, and of one checkpoint of it."""
    middle = training.run.checkpoints // 2
    state = training.plan.state
    before = replay(
        training.feeder, training.program, training.executable, trace, state, stop=max(middle, 1)
    ).state if middle else state  # fmt: skip

    def again(first: int = 0, stop: int | None = None) -> None:
        found = replay(
            training.feeder, training.program, training.executable, trace,
            before if first else state, first=first, stop=stop,
        )  # fmt: skip
        assert found.difference is None

    acts: dict[str, Callable[[], None]] = {
        "training_s": training.plain,
        "replay_s": again,
        "one_checkpoint_s": lambda: again(middle, middle + 1),
    }
    times: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(rounds):
        for name, act in acts.items():
            started = time.perf_counter()
            act()
            times[name].append(time.perf_counter() - started)
    found = {name: round(statistics.median(each), 5) for name, each in times.items()}
    run = training.run
    print(f"{training.name:<16}{run.steps} steps, K = {run.checkpoint_every}: training "
          f"{found['training_s']:.3f} s, replay x{found['replay_s'] / found['training_s']:.2f}, "
          f"one checkpoint {found['one_checkpoint_s'] * 1e3:.1f} ms")  # fmt: skip
    return {"work": training.name, "steps": run.steps, "every": run.checkpoint_every, **found}


def received(training: Training, last: Last, steps: int, rounds: int) -> dict[str, Any]:
    """Size of a receipt, and seconds to read and to check it."""
    run = replace(training.run, steps=steps)
    roots = [tensors_root(last.outputs)] * len(run.span(run.checkpoints - 1))
    final, outputs = tensors_root(last.state), blake3(b"".join(roots)).digest()
    points = tuple(
        Checkpoint(run.span(at).stop, final, indices_digest(run, run.span(at)), outputs)
        for at in range(run.checkpoints)
    )
    content = encode_receipt(issue_receipt(
        run, training.program, Trace(points), state=last.state, outputs=last.outputs,
        output_roots=roots, circumstances=PLACE, key=KEY,
    ))  # fmt: skip
    times: list[tuple[float, float]] = []
    for _ in range(rounds):
        started = time.perf_counter()
        receipt = decode_receipt(content)
        read = time.perf_counter()
        report = check_receipt(receipt)
        times.append((read - started, time.perf_counter() - read))
        assert report.is_clean, report.findings
    read_s, check_s = (statistics.median(each) for each in zip(*times, strict=True))
    print(f"{training.name:<16}{steps} steps: receipt {len(content) / 1024:.0f} KiB, "
          f"read {read_s * 1e3:.1f} ms, checked {check_s * 1e3:.1f} ms")  # fmt: skip
    return {
        "work": training.name, "steps": steps, "every": run.checkpoint_every,
        "bytes": len(content), "read_s": round(read_s, 5), "check_s": round(check_s, 5),
    }  # fmt: skip


if __name__ == "__main__":
    main()
