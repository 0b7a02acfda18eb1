"""Native matrix products against PyTorch's: the same product, turn about, as a ratio of times.

    python bench/native_contraction.py [--threads 1 2] [--rounds 200] [--target avx512]

One thread is measured in time of the thread, so that other work on the machine counts for little;
several in time on the wall, which says something on a quiet machine only. A small product is done
several times in one run, as in a program. A figure is a median.
Prints a table and writes bench/results/native_contraction.json.
"""

import argparse
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from turns import in_turns

from bcai.vm.backends.native.code import load_kernels
from bcai.vm.backends.native.kernels.contraction import contract
from bcai.vm.backends.native.launch import Address
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.backends.native.memory import map_block
from bcai.vm.backends.native.objects import ObjectCache, this_machine
from bcai.vm.backends.native.pool import Pool
from bcai.vm.backends.native.tape import ARGUMENTS, ENTRY, GRAIN, RECORD_WORDS, UNITS
from bcai.vm.backends.native.target import TARGETS, Target
from bcai.vm.compiler.plan import Buffer, OpTask, Role, View
from bcai.vm.isa.ops.contract import matmul
from bcai.vm.isa.types import DType, TensorType

SIZES = (
    (1, 1024, 1024, 1024),
    (1, 512, 512, 512),
    (1, 128, 784, 128),
    (1, 32, 784, 128),
    (1, 4096, 1024, 1024),
    (1, 128, 784, 10),
    (1, 1, 784, 128),
    (1, 1, 1024, 1024),
    (1, 1024, 1024, 1),
    (1, 4, 512, 512),
    (1, 64, 64, 64),
    (1, 100, 100, 100),
    (32, 64, 32, 64),
    (8, 512, 64, 512),
    (8, 512, 512, 64),
)
"""Batch, rows, depth, columns."""
LAYOUTS = ("NN", "NT", "TN", "TT")
ROUND_OPERATIONS = 1e9
"""Rounds are fewer where one is long."""
RUN_OPERATIONS = 4e7
"""Products of one run together, at least: half a millisecond."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--target", choices=list(TARGETS))
    options = parser.parse_args()
    target = TARGETS[options.target] if options.target else this_machine()
    if target is None:
        raise SystemExit("no native code for this processor")
    dtype = DType.of(options.dtype)
    rows: list[dict[str, object]] = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        pool = Pool(target, ObjectCache(None), threads)
        print(f"{target.name}, {dtype.name}, {threads} thread(s): us, and as a part of PyTorch's")
        for size in SIZES:
            cells = [measure(size, each, dtype, target, pool, options.rounds) for each in LAYOUTS]
            rows += cells
            line = "   ".join(
                f"{cell['layout']} {cell['native_us']:9.1f} {cell['ratio']:5.2f}" for cell in cells
            )
            print(f"{'x'.join(map(str, size)):>16}   {line}", flush=True)
        pool.close()
    save(rows, target)


def measure(
    size: tuple[int, int, int, int],
    layout: str,
    dtype: DType,
    target: Target,
    pool: Pool,
    rounds: int,
) -> dict[str, object]:
    """Medians of both sides for one product."""
    batch, m, k, n = size
    a, b = operand((batch, m, k), layout[0], dtype), operand((batch, k, n), layout[1], dtype)
    ours, theirs = (torch.zeros(batch, m, n, dtype=a.dtype) for _ in range(2))
    operations = 2 * batch * m * k * n
    times = max(1, int(RUN_OPERATIONS / operations))
    run = prepare(a, b, ours, target, pool)
    run.tape = np.tile(run.tape, (times, 1))

    def other() -> None:
        for _ in range(times):
            torch.bmm(a, b, out=theirs)

    count = max(5, min(rounds, int(ROUND_OPERATIONS / (operations * times + 1e6))))
    native, vendor = (each / times for each in in_turns(run, other, count, pool.threads))
    assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    return {
        "size": list(size),
        "layout": layout,
        "dtype": dtype.name,
        "threads": pool.threads,
        "native_us": native * 1e6,
        "torch_us": vendor * 1e6,
        "ratio": native / vendor,
        "native_gflops": operations / native / 1e9,
    }


def operand(shape: tuple[int, int, int], layout: str, dtype: DType) -> torch.Tensor:
    """Random matrices, row-major or column-major."""
    batch, rows, columns = shape
    real = torch.float32 if dtype is DType.float32 else torch.float64
    if layout == "N":
        return torch.randn(batch, rows, columns, dtype=real)
    return torch.randn(batch, columns, rows, dtype=real).transpose(1, 2)


@dataclass(slots=True)
class Prepared:
    """Launches as a tape, and all that must live as long."""

    pool: Pool
    tape: np.ndarray
    scratch_bytes: int
    held: list[object]

    def __call__(self) -> None:
        self.pool.run(self.tape, 0, len(self.tape), self.scratch_bytes)


def prepare(
    a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, target: Target, pool: Pool
) -> Prepared:
    """Lower the product and lay out its tape."""
    tensors = (a, b, c)
    views = [view(number, each) for number, each in enumerate(tensors)]
    buffers = [Buffer(number, each.nbytes, Role.INPUT) for number, each in enumerate(tensors)]
    scope = Scope(target, pool.threads, buffers)
    made = contract(OpTask(matmul, {}, (views[0], views[1]), (views[2],), 0), scope)
    assert made is not None
    launches = [*scope.launches, *made]
    code = load_kernels([each.kernel for each in launches], target, ObjectCache(None))
    room = [map_block(each.nbytes) for each in scope.buffers[3:]]
    bases = [each.data_ptr() for each in tensors] + [each.address for each in room]
    tape = np.zeros((len(launches), RECORD_WORDS), np.int64)
    held: list[object] = [code, room, tensors]
    for record, launch in zip(tape, launches, strict=True):
        arguments = np.array(
            [
                bases[each.buffer] + each.offset if isinstance(each, Address) else each
                for each in launch.arguments
            ],
            np.int64,
        )
        held.append(arguments)
        record[ENTRY] = code.addresses[launch.kernel.symbol]
        record[ARGUMENTS] = arguments.ctypes.data
        record[UNITS], record[GRAIN] = launch.units, launch.grain
    return Prepared(pool, tape, max(each.scratch_bytes for each in launches), held)


def view(number: int, tensor: torch.Tensor) -> View:
    """A tensor as a view of its own buffer."""
    name = str(tensor.dtype).removeprefix("torch.")
    return View(number, TensorType(DType.of(name), tuple(tensor.shape)), tuple(tensor.stride()))


def save(rows: list[dict[str, object]], target: Target) -> None:
    """Write the figures with the machine that they are from."""
    document = {
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load_1min": os.getloadavg()[0],
            "python": platform.python_version(),
            "torch": torch.__version__,
            "target": target.name,
        },
        "rows": rows,
    }
    path = Path(__file__).parent / "results" / "native_contraction.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
