"""How fast a job starts in the jail, cold and warm, and how many follow each other in a second.

    python bench/jail_start.py [--rounds 200] [--pause 0.1]

Measured from the call of `launch` to the first line of the job's output, and to the job's end, one
job at a time with a pause between. `cold` starts a Python for the job; `warm` forks it from one
that has PyTorch imported. Then jobs without a pause, by one and by two threads. Prints a table and
writes bench/results/jail_start.json.
"""

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jail_jobs import percentile, ready_pool, run_well, write

from bcai.bridge.sandbox.warm import ZygotePool

PRINT = "print('x', flush=True)"
TORCH = "import torch\nprint(torch.ones(3).sum().item(), flush=True)"
TRAIN = """
import torch
from torch import nn
m = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
o = torch.optim.AdamW(m.parameters())
x, y = torch.randn(512, 64), torch.randint(0, 10, (512,))
for _ in range(20):
    loss = nn.functional.cross_entropy(m(x), y)
    o.zero_grad(); loss.backward(); o.step()
print(loss.item(), flush=True)
"""


def measure(folder: Path, pool: ZygotePool | None, rounds: int, pause_s: float) -> dict[str, float]:
    """Milliseconds of one kind of job, one at a time."""
    first: list[float] = []
    total: list[float] = []
    for round_ in range(-3, rounds):
        time.sleep(pause_s)
        job = run_well(folder, pool)
        if round_ >= 0:
            first.append(1e3 * (job.first_s or 0.0))
            total.append(1e3 * job.total_s)
    return {
        "first_ms_min": min(first),
        "first_ms_p50": statistics.median(first),
        "first_ms_p99": percentile(first, 0.99),
        "total_ms_p50": statistics.median(total),
    }


def jobs_a_second(folder: Path, pool: ZygotePool | None, rounds: int, threads: int) -> float:
    """Jobs without a pause."""
    with ThreadPoolExecutor(threads) as callers:
        list(callers.map(lambda _: run_well(folder, pool), range(threads)))
        began = time.perf_counter()
        list(callers.map(lambda _: run_well(folder, pool), range(rounds)))
        return rounds / (time.perf_counter() - began)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--pause", type=float, default=0.1)
    arguments = parser.parse_args()
    rounds = arguments.rounds
    pool = ready_pool()
    kinds: list[tuple[str, str, ZygotePool | None, int]] = [
        ("print, cold", PRINT, None, rounds // 4),
        ("print, warm", PRINT, pool, rounds),
        ("import torch, cold", TORCH, None, max(3, rounds // 20)),
        ("import torch, warm", TORCH, pool, rounds // 2),
        ("20 steps of an MLP, warm", TRAIN, pool, rounds // 4),
    ]
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, code, zygotes, count in kinds:
            (folder / "job.py").write_text(code)
            rows[title] = row = measure(folder, zygotes, count, arguments.pause)
            print(
                f"{title:26} first output p50 {row['first_ms_p50']:7.1f} ms  "
                f"p99 {row['first_ms_p99']:7.1f} ms   end p50 {row['total_ms_p50']:7.1f} ms"
            )
        (folder / "job.py").write_text(PRINT)
        for title, zygotes, count in (("cold", None, rounds // 4), ("warm", pool, rounds)):
            for threads in (1, 2):
                rate = jobs_a_second(folder, zygotes, count, threads)
                rows[f"jobs a second, {title}, {threads} at a time"] = rate
                print(f"print, {title}, {threads} at a time: {rate:6.1f} jobs a second")
    pool.close()
    write("jail_start", rows)


if __name__ == "__main__":
    main()
