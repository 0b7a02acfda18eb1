"""Many warm jobs at once: how long until all of them run, and what each holds.

    python bench/jail_many.py [--jobs 200]

All are started together and sleep until the last one has printed. Their memory is their share of
it (PSS): what several jobs hold together counts in parts. `touched` has used PyTorch before it
sleeps. Prints a table and writes bench/results/jail_many.json.
"""

import argparse
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from jail_jobs import LIMITS, descendants, percentile, pss_bytes, ready_pool, run, write

from bcai.bridge.sandbox.jail import Cause, JailEvent, LogText
from bcai.bridge.sandbox.warm import ZygotePool

_WAIT_S_MAX = 600.0  # on a machine that is busy with other things
_LIMITS = replace(LIMITS, wall_s=2 * _WAIT_S_MAX)
WAIT = "import time\nprint('x', flush=True)\ntime.sleep(2000)"
KINDS = {"waiting": WAIT, "touched": f"import torch\ntorch.randn(64, 64).mm(torch.eye(64))\n{WAIT}"}


def measure(folder: Path, pool: ZygotePool, count: int) -> dict[str, float]:
    """Start them all, look when the last one runs, and end them."""
    everybody, is_measured = threading.Barrier(count + 1), threading.Event()

    def wait(cancelled: threading.Event, event: JailEvent) -> None:
        if isinstance(event, LogText):
            everybody.wait(_WAIT_S_MAX)
            is_measured.wait(_WAIT_S_MAX)
            cancelled.set()

    before = pss_bytes(descendants())
    began = time.perf_counter()
    with ThreadPoolExecutor(count) as threads:
        start = partial(run, folder, pool, limits=_LIMITS, after=wait)
        jobs = [threads.submit(start) for _ in range(count)]
        everybody.wait(_WAIT_S_MAX)
        running_s = time.perf_counter() - began
        pids = descendants()
        held = pss_bytes(pids) - before
        is_measured.set()
        ended = [each.result() for each in jobs]
    assert all(each.exit.cause is Cause.CANCELLED for each in ended), ended
    return {
        "jobs": count,
        "started_warm": sum(each.exit.jail.start == "warm" for each in ended),
        "all_run_after_s": running_s,
        "all_ended_after_s": time.perf_counter() - began,
        "first_s_p50": percentile([each.first_s or 0.0 for each in ended], 0.5),
        "processes": len(pids),
        "pss_mb_each": held / count / 1e6,
        "python_pss_mb": before / 1e6,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    count = parser.parse_args().jobs
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        for title, code in KINDS.items():
            pool = ready_pool()
            (Path(name) / "job.py").write_text(code)
            rows[title] = row = measure(Path(name), pool, count)
            pool.close()
            print(
                f"{count} jobs, {row['started_warm']} warm, {title}: all run after "
                f"{row['all_run_after_s']:.1f} s, {row['pss_mb_each']:.1f} MB each "
                f"({row['processes']:.0f} processes), all ended after "
                f"{row['all_ended_after_s']:.1f} s"
            )
    rows["machine"] = {"load": os.getloadavg()[0], "processors": os.cpu_count() or 0}
    write("jail_many", rows)


if __name__ == "__main__":
    main()
