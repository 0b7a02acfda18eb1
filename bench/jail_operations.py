"""What the jail costs the four operations of the architecture document: the same script everywhere.

    python bench/jail_operations.py [--rounds 9]

Each script imports PyTorch, makes its tensors, runs the operation once and prints how long eleven
more took in the median. It is run by a bare `python`, in a jail that starts cold, and in one that
starts warm, in turns. `start to end` is the whole script; `operation` is what the script says.
Prints a table and writes bench/results/jail_operations.json.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from jail_jobs import ready_pool, run_well, write

from bcai.bridge.sandbox.environment import environment_variables
from bcai.bridge.sandbox.warm import ZygotePool

HEAD = """
import time, torch, torch.nn.functional as F
torch.manual_seed(0)
"""
TAIL = """
times = []
with torch.inference_mode():
    f()
    for _ in range(11):
        began = time.perf_counter()
        f()
        times.append(time.perf_counter() - began)
print(sorted(times)[5], flush=True)
"""
OPERATIONS = {
    "matrix product 1000 x 1000": "a, b = torch.randn(2, 1000, 1000)\nf = lambda: a @ b",
    "Conv2D 3 x 224 x 224, 7 x 7": (
        "x, w = torch.randn(1, 3, 224, 224), torch.randn(64, 3, 7, 7)\n"
        "f = lambda: F.conv2d(x, w, stride=2, padding=3)"
    ),
    "attention, 8 heads, 512 places": (
        "q, k, v = torch.randn(3, 1, 8, 512, 64)\n"
        "f = lambda: F.scaled_dot_product_attention(q, k, v)"
    ),
    "LSTM forward, 64 x 32 x 256": (
        "m, x = torch.nn.LSTM(256, 256), torch.randn(64, 32, 256)\nf = lambda: m(x)"
    ),
}


def run_bare(folder: Path) -> tuple[float, float]:
    """Seconds of the script and of its operation in a Python without a jail."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "job.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env=environment_variables(64) | {"HOME": str(folder)},  # the same number of threads
    )
    return time.perf_counter() - began, float(done.stdout)


def run_jailed(folder: Path, pool: ZygotePool | None) -> tuple[float, float]:
    """The same in a jail."""
    job = run_well(folder, pool)
    return job.total_s, float(job.text)


def measure(folder: Path, pool: ZygotePool, rounds: int) -> dict[str, dict[str, float]]:
    """Medians of one operation, everywhere."""
    places: dict[str, Callable[[], tuple[float, float]]] = {
        "bare": lambda: run_bare(folder),
        "cold": lambda: run_jailed(folder, None),
        "warm": lambda: run_jailed(folder, pool),
    }
    found: dict[str, list[tuple[float, float]]] = {place: [] for place in places}
    for _ in range(rounds):
        for place, once in places.items():
            found[place].append(once())
    return {
        place: {
            "script_ms": 1e3 * statistics.median(each for each, _ in times),
            "operation_ms": 1e3 * statistics.median(each for _, each in times),
        }
        for place, times in found.items()
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    pool = ready_pool()
    rows: dict[str, dict[str, dict[str, float]]] = {}
    print(f"{'':32}{'script, start to end (ms)':>30}{'operation alone (ms)':>30}")
    print(f"{'':32}" + f"{'bare':>10}{'cold':>10}{'warm':>10}" * 2)
    with tempfile.TemporaryDirectory() as name:
        for title, code in OPERATIONS.items():
            (Path(name) / "job.py").write_text(HEAD + code + TAIL)
            rows[title] = row = measure(Path(name), pool, rounds)
            whole = "".join(f"{each['script_ms']:10.0f}" for each in row.values())
            alone = "".join(f"{each['operation_ms']:10.2f}" for each in row.values())
            print(f"{title:32}{whole}{alone}")
    pool.close()
    write("jail_operations", rows)


if __name__ == "__main__":
    main()
