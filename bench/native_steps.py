"""Whole training steps and inference: the native backend against PyTorch, as a user writes them.

    python bench/native_steps.py [--works mlp-32 ...] [--threads 1 2] [--rounds 20] [--compile]
        [--onnx] [--jax]

A step is forward, loss, backward and AdamW. All contestants take turns in one process, which may
use as many processors as there are threads (JAX asks for nothing else); figures are medians. Prints
a table and writes bench/results/native_steps.json, where rows that are not measured stay; a ratio
below 1 means that the native backend is faster than eager PyTorch. What `--onnx` and `--jax` need
is the dependency group `bench`.
"""

import argparse
import gc
import json
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from models import WORKS, Work
from torch import nn
from turns import turns

import bcai
from bcai.vm.backends.native.backend import NativeBackend
from bcai.vm.compiler.training_step import AdamW, training_step

RATE = 1e-3
RESULTS = Path(__file__).parent / "results" / "native_steps.json"


def eager(work: Work, *, compiled: bool = False) -> Callable[[], Any]:
    """A PyTorch step, as the tutorials have it."""
    model: Any = torch.compile(work.model) if compiled else work.model
    if work.target is None:

        def infer() -> Any:
            with torch.inference_mode():
                return model(*work.inputs)

        return infer
    optimizer = torch.optim.AdamW(work.model.parameters(), lr=RATE)
    loss_of = nn.CrossEntropyLoss()

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of(model(*work.inputs), work.target)
        loss.backward()
        optimizer.step()
        return loss

    return step


class Native:
    """The same step as a Program on the native backend."""

    def __init__(self, work: Work, threads: int) -> None:
        backend = NativeBackend(threads=threads)
        given: tuple[torch.Tensor, ...] = work.inputs
        if work.target is None:
            program, parameters = bcai.from_torch(work.model, given, train=False)
            self.state = dict(parameters)
        else:
            given = (*given, work.target)
            forward, parameters = bcai.from_torch(
                work.model, given, loss="cross_entropy", train=True
            )
            step = training_step(forward, AdamW())
            program, self.state = step.program, {**parameters, **step.first_state}
        started = time.perf_counter()
        self.executable: Any = backend.compile(program)
        self.compile_s = time.perf_counter() - started
        names = [port.name for port in program.program.inputs if port.name != "learning_rate"]
        self.given = {name: each.numpy() for name, each in zip(names, given, strict=True)}
        if work.target is not None:
            self.given["learning_rate"] = np.float32(RATE)

    def __call__(self) -> dict[str, Any]:
        outputs = self.executable.run({**self.given, **self.state})
        self.state = {name: outputs.get(name, value) for name, value in self.state.items()}
        return outputs


def onnx(work: Work, threads: int) -> Callable[[], Any] | None:
    """ONNX Runtime, for inference."""
    if work.target is not None:
        return None
    import io

    import onnxruntime  # pyright: ignore

    memory = io.BytesIO()
    torch.onnx.export(work.model, work.inputs, memory, dynamo=False)
    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session: Any = onnxruntime.InferenceSession(memory.getvalue(), options)
    names = [each.name for each in session.get_inputs()]
    given = {name: each.numpy() for name, each in zip(names, work.inputs, strict=True)}
    return lambda: session.run(None, given)


def run_one(name: str, threads: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One line of the table."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    work = WORKS[name]()
    native = Native(work, threads)
    contestants: dict[str, Callable[[], Any]] = {"eager": eager(work), "native": native}
    if arguments.compile:
        torch.manual_seed(0)
        contestants["torch.compile"] = eager(WORKS[name](), compiled=True)
    session = onnx(work, threads) if arguments.onnx else None
    if session is not None:
        contestants["onnxruntime"] = session
    if arguments.jax and work.target is not None:
        from jax_models import jax_step  # pyright: ignore

        found = jax_step(name, work.inputs[0].numpy(), work.target.numpy(), RATE)
        if found is not None:
            contestants["jax"] = found
    medians = turns(contestants, arguments.rounds)
    gc.collect()
    row: dict[str, Any] = {"work": name, "threads": threads, "compile_s": native.compile_s}
    row |= {f"{each}_ms": 1e3 * seconds for each, seconds in medians.items()}
    row["ratio"] = medians["native"] / medians["eager"]
    row["bytes_peak"] = getattr(native.executable, "bytes_peak", None)
    return row


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--works", nargs="+", default=list(WORKS), choices=list(WORKS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--compile", action="store_true", help="torch.compile too")
    parser.add_argument("--onnx", action="store_true", help="ONNX Runtime too")
    parser.add_argument("--jax", action="store_true", help="JAX too")
    arguments = parser.parse_args()
    for threads in arguments.threads:
        for name in arguments.works:
            with ProcessPoolExecutor(1, get_context("spawn")) as own_process:
                row = own_process.submit(run_one, name, threads, arguments).result()
            shown = {key: f"{value:.3g}" for key, value in row.items() if key.endswith("_ms")}
            print(
                f"{name:15} {threads} thread(s)  ratio {row['ratio']:.2f}  {shown}  "
                f"compiled in {row['compile_s']:.2f} s",
                flush=True,
            )
            save(row)


def save(row: dict[str, Any]) -> None:
    """Write a row in the place of the one that there was, with the machine it is from."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    if RESULTS.exists():
        found = json.loads(RESULTS.read_text("utf-8"))["rows"]
        rows = {(each["work"], each["threads"]): each for each in found}
    machine = {
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "load_1min": os.getloadavg()[0],
    }
    key = (row["work"], row["threads"])
    rows[key] = rows.get(key, {}) | row | machine
    ordered = sorted(
        rows.values(), key=lambda each: (each["threads"], list(WORKS).index(each["work"]))
    )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"rows": ordered}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
