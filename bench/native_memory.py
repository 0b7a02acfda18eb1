"""Peak memory of a training step: the native backend against PyTorch, each in its own process.

    python bench/native_memory.py [--works transformer-8 ...] [--threads 1]

A process holds inputs, parameters, moments and gradients, and all that a step makes: its largest
resident set in three steps after a first one, less what it was before with libraries loaded. The
native backend says what it needs before it runs.
"""

import argparse
import ctypes
import gc
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from models import WORKS
from native_steps import Native, eager

STEPS = 3
MIB = 1 << 20


def resident_bytes() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def largest_bytes() -> int:
    """Most bytes that this process had in memory since `forget_largest`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def forget_largest() -> None:
    """Start to count the most bytes in memory from now on; freed ones go back first."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def measure(name: str, contestant: str, threads: int) -> str:
    """One process's line."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    work = WORKS[name]()
    said = ""
    if contestant == "eager":
        step = eager(work)
        counted = sum(each.nbytes for each in work.model.parameters())
    else:
        step = Native(work, threads)
        step.state = {
            name: np.array(value) for name, value in step.state.items()
        }  # not the model's
        counted = sum(value.nbytes for value in step.state.values())
        said = f"  said to need {step.executable.bytes_peak / MIB:7.1f} MiB"
    counted += sum(each.nbytes for each in (*work.inputs, work.target) if each is not None)
    forget_largest()
    before = resident_bytes() - counted
    step()
    forget_largest()  # with it goes what the first state was in
    for _ in range(STEPS):
        step()
    held = (largest_bytes() - before) / MIB
    return f"{name:15} {contestant:8} {threads} thread(s)  holds {held:7.1f} MiB{said}"


def main() -> None:
    """Start a process for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--works", nargs="+", default=["transformer-8"], choices=list(WORKS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--contestant", choices=["eager", "native"], help="in this process")
    arguments = parser.parse_args()
    for name in arguments.works:
        if arguments.contestant:
            print(measure(name, arguments.contestant, arguments.threads))
            continue
        for contestant in ("eager", "native"):
            command = [sys.executable, __file__, "--works", name, "--contestant", contestant]
            subprocess.run([*command, "--threads", str(arguments.threads)], check=True)


if __name__ == "__main__":
    main()
