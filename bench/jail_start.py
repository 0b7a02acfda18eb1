"""How fast a job starts in the jail, cold and warm; how many run at once, and what they hold.

    python bench/jail_start.py [--rounds 200] [--side-by-side 200]

Measured from the call of `launch` to the first line of the job's output, and to the job's end.
`cold` starts a Python for the job; `warm` forks it from one that has PyTorch imported. Prints a
table and writes bench/results/jail_start.json.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bcai.bridge.sandbox.jail import Cause, JailEvent, JailLimits, JailRequest, LogText
from bcai.bridge.sandbox.launcher import launch
from bcai.bridge.sandbox.warm import ZygotePolicy, ZygotePool

RESULTS = Path(__file__).parent / "results" / "jail_start.json"
LIMITS = JailLimits(120.0, 2 << 30, 1 << 20, 64 << 20, 64 << 20, 64)
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
WAIT = "import time\nprint('x', flush=True)\ntime.sleep({})"


def run(folder: Path, pool: ZygotePool | None) -> tuple[float, float]:
    """Seconds to the first output and to the end."""
    first: list[float] = []

    def note(event: JailEvent) -> None:
        if isinstance(event, LogText) and not first:
            first.append(time.perf_counter() - began)

    request = JailRequest(folder, "job.py", None, (), LIMITS)
    began = time.perf_counter()
    ended = launch(request, note, threading.Event(), pool)
    total = time.perf_counter() - began
    assert ended.cause is Cause.EXITED, ended
    return first[0], total


def measure(folder: Path, code: str, pool: ZygotePool | None, rounds: int) -> dict[str, float]:
    """Milliseconds of one kind of job."""
    (folder / "job.py").write_text(code)
    for _ in range(3):
        run(folder, pool)
    found = [run(folder, pool) for _ in range(rounds)]
    first = sorted(1e3 * each for each, _ in found)
    return {
        "first_ms_p50": statistics.median(first),
        "first_ms_p99": first[min(rounds - 1, int(0.99 * rounds))],
        "total_ms_p50": statistics.median(1e3 * each for _, each in found),
    }


def held_bytes() -> int:
    """Proportional memory of everything below this process."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    import os

    total, waiting = 0, list(children.get(os.getpid(), []))
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(each.split()[1]) << 10 for each in lines if each.startswith("Pss:"))
    return total


def side_by_side(folder: Path, pool: ZygotePool, count: int) -> dict[str, float]:
    """Many warm jobs at once: how long until all run, and what they hold."""
    seconds = 2.0 + count / 15
    (folder / "job.py").write_text(WAIT.format(seconds))
    before = held_bytes()
    began = time.perf_counter()
    with ThreadPoolExecutor(count) as threads:
        jobs = [threads.submit(run, folder, pool) for _ in range(count)]
        time.sleep(seconds * 0.8)
        held = held_bytes() - before
        for each in jobs:
            each.result()
    return {
        "jobs": count,
        "wall_s": time.perf_counter() - began,
        "job_s": seconds,
        "pss_mb_each": held / count / 1e6,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--side-by-side", type=int, default=200)
    arguments = parser.parse_args()
    pool = ZygotePool(ZygotePolicy(jobs_max=1 << 30))
    assert pool.is_ready("", wait_s=120)
    rows: dict[str, Any] = {}
    kinds: list[tuple[str, str, ZygotePool | None, int]] = [
        ("print, cold", PRINT, None, arguments.rounds // 4),
        ("print, warm", PRINT, pool, arguments.rounds),
        ("import torch, cold", TORCH, None, max(3, arguments.rounds // 20)),
        ("import torch, warm", TORCH, pool, arguments.rounds // 2),
        ("20 steps of an MLP, warm", TRAIN, pool, arguments.rounds // 4),
    ]
    with tempfile.TemporaryDirectory() as name:
        for title, code, zygotes, rounds in kinds:
            rows[title] = measure(Path(name), code, zygotes, rounds)
            row = rows[title]
            print(
                f"{title:26} first output p50 {row['first_ms_p50']:7.1f} ms  "
                f"p99 {row['first_ms_p99']:7.1f} ms   end p50 {row['total_ms_p50']:7.1f} ms"
            )
        many: Callable[[], dict[str, float]] = lambda: side_by_side(  # noqa: E731
            Path(name), pool, arguments.side_by_side
        )
        rows["side by side"] = many()
    found = rows["side by side"]
    print(
        f"{found['jobs']:.0f} jobs at once: {found['pss_mb_each']:.1f} MB each, "
        f"all done in {found['wall_s']:.1f} s (each sleeps {found['job_s']:.1f} s)"
    )
    pool.close()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
