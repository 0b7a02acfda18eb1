"""What capturing a training loop costs: the same script with torch alone, and captured.

    python bench/capture_loop.py [--steps N] [--json FILE]

Two processes for each model, each with one thread. The first steps, in which parts are compiled,
are counted apart. A captured step is timed from one
read of the loss to the next, so it holds the script's side, the channel, execution and hashing.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

WARM_STEPS = 4
SCRIPT = """
import time
import torch
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(0)
MODELS = {{
    "mlp 64-128-10, batch 64": lambda: (
        nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)), torch.randn(64, 64), 10),
    "mlp 784-512-512-10, batch 128": lambda: (
        nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(),
                      nn.Linear(512, 10)), torch.randn(128, 784), 10),
    "cnn 8x8, batch 64": lambda: (
        nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
                      nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(),
                      nn.Dropout(0.1), nn.Linear(512, 10)), torch.randn(64, 1, 8, 8), 10),
}}
model, x, classes = MODELS[{model!r}]()
y = torch.arange(len(x)) % classes
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
times, used = [], []
for step in range({steps}):
    started, began = time.perf_counter(), time.process_time()
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    loss.item()
    times.append(time.perf_counter() - started)
    used.append(time.process_time() - began)
"""
NAMES = ("mlp 64-128-10, batch 64", "mlp 784-512-512-10, batch 128", "cnn 8x8, batch 64")


def main() -> None:
    """Measure each model, print a table, and write the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "HOW"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        sys.stdout.write(json.dumps(_one(options.one[0], options.one[1], options.steps)) + "\n")
        return
    rows: list[dict[str, Any]] = []
    for name in NAMES:
        row: dict[str, Any] = {"model": name}
        for how in ("torch", "captured"):
            row[how] = _apart(name, how, options.steps)
        row["factor"] = row["captured"]["processor_ms"] / row["torch"]["processor_ms"]
        rows.append(row)
        sys.stdout.write(
            f"{name}: torch {row['torch']['processor_ms']:.2f} ms of processor a step "
            f"({row['torch']['step_ms']:.2f} ms of time), captured "
            f"{row['captured']['processor_ms']:.2f} ({row['captured']['step_ms']:.2f}), "
            f"{row['factor']:.1f} x; first "
            f"{WARM_STEPS} steps {row['captured']['first_s']:.2f} s; "
            f"{row['captured']['leaf_bytes']:.0f} bytes of leaves a step\n"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def _apart(name: str, how: str, steps: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--steps", str(steps), "--one", name, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _one(name: str, how: str, steps: int) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "__main__"}
    code = compile(SCRIPT.format(model=name, steps=steps), "train.py", "exec")
    if how == "torch":
        exec(code, names)
        return _figures(names["times"], names["used"])
    from bcai.bridge.guest.capturing.start import start_capture
    from bcai.cluster.node.capture_host import CaptureHost, serve
    from bcai.proof.capture import encode_leaf
    from bcai.proof.capture_recorder import CaptureRecorder
    from bcai.vm.backends.native.backend import NativeBackend
    from bcai.vm.backends.reference.backend import ReferenceBackend

    ours, theirs = socket.socketpair()
    host = CaptureHost(CaptureRecorder(), NativeBackend(1), ReferenceBackend(), 4 << 30)
    threading.Thread(target=serve, args=(ours, host), daemon=True).start()
    start_capture(theirs)
    exec(code, names)
    leaves = host.recorder.leaves
    size = sum(len(encode_leaf(each)) for each in leaves)
    programs = len(host.programs)
    found = _figures(names["times"], names["used"])
    return {**found, "leaves": len(leaves), "leaf_bytes": size / steps, "programs": programs}


def _figures(times: list[float], used: list[float]) -> dict[str, float]:
    """The median says what the machine did, the quickest what it can do."""
    steady = sorted(times[WARM_STEPS:])
    return {
        "step_ms": statistics.median(steady) * 1e3,
        "step_ms_min": steady[0] * 1e3,
        "processor_ms": statistics.median(used[WARM_STEPS:]) * 1e3,
        "first_s": sum(times[:WARM_STEPS]),
    }


if __name__ == "__main__":
    main()
