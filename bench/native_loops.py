"""Fused loops against PyTorch, as a ratio of times (lower is better).

    python bench/native_loops.py [--threads 1 2] [--rounds 60] [--target avx512] [--only softmax]

A loop and PyTorch take turns; a figure is a median. One thread is measured in time
of the thread, so that other work on the machine counts for little; several in time on the wall,
which says something on a quiet machine only. Prints a table and writes
bench/results/native_loops.json.
"""

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from native_contraction import Prepared
from torch.nn import functional
from turns import in_turns

from bcai.vm.backends.native.code import load_kernels
from bcai.vm.backends.native.launch import Address
from bcai.vm.backends.native.loops import lower_loop
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.backends.native.objects import ObjectCache, this_machine
from bcai.vm.backends.native.pool import Pool
from bcai.vm.backends.native.tape import ARGUMENTS, ENTRY, GRAIN, RECORD_WORDS, UNITS
from bcai.vm.backends.native.target import TARGETS, Target
from bcai.vm.compiler.plan import (
    Apply,
    Buffer,
    Fold,
    Literal,
    Load,
    LoopTask,
    Node,
    Role,
    View,
    row_major,
)
from bcai.vm.isa.types import DType, TensorType
from bcai.vm.isa.versions import LATEST

F32 = DType.float32


class Loop:
    """A loop under construction; arrays are float32 and contiguous unless strides say more."""

    def __init__(self, shape: tuple[int, ...], kept: int | None = None) -> None:
        self.shape, self.kept = shape, len(shape) if kept is None else kept
        self.nodes: list[Node] = []
        self.stores: list[tuple[int, View]] = []
        self.arrays: list[np.ndarray] = []

    def add(self, node: Node) -> int:
        """Append a node; its number."""
        self.nodes.append(node)
        return len(self.nodes) - 1

    def view(self, array: np.ndarray, strides: tuple[int, ...], shape: tuple[int, ...]) -> View:
        """A view of a new buffer."""
        self.arrays.append(aligned(array))
        return View(len(self.arrays) - 1, TensorType(DType.of(array.dtype), shape), strides)

    def load(self, array: np.ndarray, *strides: int) -> int:
        """Read an array, row-major unless strides are given."""
        return self.add(Load(self.view(array, strides or row_major(self.shape), self.shape)))

    def literal(self, value: float) -> int:
        """A float32 constant."""
        return self.add(Literal(float(np.float32(value)), F32))

    def __call__(self, name: str, *operands: int, dtype: DType = F32) -> int:
        """Apply an instruction."""
        return self.add(Apply(LATEST.by_name[name], operands, {}, dtype))

    def fold(self, name: str, operand: int) -> int:
        """Fold the folded axes."""
        return self.add(Fold(LATEST.by_name[name], operand, F32))

    def store(self, node: int, *, row: bool = False) -> np.ndarray:
        """Write a node to a new array."""
        shape = (*self.shape[: self.kept], *(1 for _ in self.shape[self.kept :]))
        shape = shape if row else self.shape
        view = self.view(np.zeros(shape, np.float32), row_major(shape), shape)
        self.stores.append((node, view))
        return self.arrays[view.buffer]

    def compile(self, target: Target, pool: Pool) -> tuple[Callable[[], None], float]:
        """Return the loop as a function, and the seconds that it took to make."""
        started = time.thread_time()
        task = LoopTask(self.shape, self.kept, tuple(self.nodes), tuple(self.stores), 0)
        scope = Scope(
            target,
            pool.threads,
            [Buffer(n, a.nbytes, Role.INPUT) for n, a in enumerate(self.arrays)],
        )
        launches = lower_loop(task, scope)
        code = load_kernels([each.kernel for each in launches], target, ObjectCache(None))
        memory = [*self.arrays]
        memory += [aligned(np.zeros(b.nbytes, np.uint8)) for b in scope.buffers[len(memory) :]]
        tape = np.zeros((len(launches), RECORD_WORDS), np.int64)
        held: list[object] = [code, memory]
        for record, launch in zip(tape, launches, strict=True):
            arguments = np.array(
                [
                    memory[each.buffer].ctypes.data + each.offset
                    if isinstance(each, Address)
                    else each
                    for each in launch.arguments
                ],
                np.int64,
            )
            held.append(arguments)
            record[ENTRY] = code.addresses[launch.kernel.symbol]
            record[ARGUMENTS] = arguments.ctypes.data
            record[UNITS], record[GRAIN] = launch.units, launch.grain
        scratch_bytes = max(each.scratch_bytes for each in launches)
        return Prepared(pool, tape, scratch_bytes, held), time.thread_time() - started


@dataclass
class Case:
    """One figure."""

    name: str
    loop: Loop
    out: np.ndarray
    torch_run: Callable[[], torch.Tensor]
    tolerance: float = 1e-4


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy that starts at a multiple of 64, as buffers of a plan do."""
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    found = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    found[...] = array
    return found


def normal(*shape: int) -> np.ndarray:
    """Random numbers."""
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def unary(name: str, count: int) -> Case:
    """An instruction on many elements; PyTorch writes where it has written before."""
    x = normal(count)
    loop = Loop((count,))
    out = loop.store(loop(name, loop.load(x)))
    held, into, run = torch.from_numpy(x), torch.empty(count), getattr(torch, name.lower())
    return Case(f"{name.lower()} {count}", loop, out, lambda: run(held, out=into))


def gelu(count: int) -> Case:
    """The exact form."""
    x = normal(count)
    loop = Loop((count,))
    a = loop.load(x)
    out = loop.store(loop("Mul", a, loop("Ndtr", a)))
    held = torch.from_numpy(x)
    return Case(f"gelu {count}", loop, out, lambda: functional.gelu(held))


def gelu_gradient(count: int) -> Case:
    """The exact form's."""
    x, d = normal(count), normal(count)[::-1].copy()
    loop = Loop((count,))
    a, g = loop.load(x), loop.load(d)
    power = loop("Exp", loop("Mul", loop("Mul", a, a), loop.literal(-0.5)))
    density = loop("Mul", power, loop.literal(1 / math.sqrt(2 * math.pi)))
    slope = loop("Add", loop("Ndtr", a), loop("Mul", a, density))
    out = loop.store(loop("Mul", g, slope))
    tx, td = torch.from_numpy(x), torch.from_numpy(d)

    def run() -> torch.Tensor:
        return torch.ops.aten.gelu_backward(td, tx)

    return Case(f"gelu gradient {count}", loop, out, run)


def softmax(rows: int, size: int) -> Case:
    x = normal(rows, size)
    loop = Loop((rows, size), 1)
    a = loop.load(x)
    e = loop("Exp", loop("Sub", a, loop.fold("ReduceMax", a)))
    out = loop.store(loop("Div", e, loop.fold("Sum", e)))
    held = torch.from_numpy(x)
    return Case(f"softmax {rows}x{size}", loop, out, lambda: functional.softmax(held, -1))


def softmax_gradient(rows: int, size: int) -> Case:
    y, d = softmax(rows, size).torch_run().numpy(), normal(rows, size)
    loop = Loop((rows, size), 1)
    a, b = loop.load(y), loop.load(d)
    total = loop.fold("Sum", loop("Mul", a, b))
    out = loop.store(loop("Mul", a, loop("Sub", b, total)))
    ty, td = torch.from_numpy(y), torch.from_numpy(d)

    def run() -> torch.Tensor:
        return torch._softmax_backward_data(td, ty, -1, torch.float32)

    return Case(f"softmax gradient {rows}x{size}", loop, out, run)


def layer_norm(rows: int, size: int) -> Case:
    x, w, b = normal(rows, size), normal(size), normal(size)
    loop = Loop((rows, size), 1)
    a, scale, shift = loop.load(x), loop.load(w, 0, 1), loop.load(b, 0, 1)
    n = loop.literal(size)
    d = loop("Sub", a, loop("Div", loop.fold("Sum", a), n))
    variance = loop("Div", loop.fold("Sum", loop("Mul", d, d)), n)
    root = loop("Sqrt", loop("Add", variance, loop.literal(1e-5)))
    rstd = loop("Div", loop.literal(1.0), root)
    out = loop.store(loop("Fma", loop("Mul", d, rstd), scale, shift))
    tx, tw, tb = map(torch.from_numpy, (x, w, b))
    return Case(
        f"layer norm {rows}x{size}",
        loop,
        out,
        lambda: functional.layer_norm(tx, (size,), tw, tb),
    )


def layer_norm_gradient(rows: int, size: int, *, of_input: bool) -> Case:
    """With respect to the input, or (columns) to the scale; PyTorch computes the same part."""
    x, d, w = normal(rows, size), normal(size, rows).T.copy(), normal(size)
    tx, td, tw = map(torch.from_numpy, (x, d, w))
    _, mean, rstd = torch.native_layer_norm(tx, (size,), tw, tw, 1e-5)
    ours = (mean.numpy().reshape(rows).copy(), rstd.numpy().reshape(rows).copy())
    loop = Loop((rows, size) if of_input else (size, rows), 1)
    along, across = ((size, 1), (1, 0)) if of_input else ((1, size), (0, 1))
    a, g = loop.load(x, *along), loop.load(d, *along)
    m, r = loop.load(ours[0], *across), loop.load(ours[1], *across)
    normed = loop("Mul", loop("Sub", a, m), r)
    if of_input:
        n, dw = loop.literal(size), loop("Mul", g, loop.load(w, 0, 1))
        first = loop("Div", loop.fold("Sum", dw), n)
        second = loop("Div", loop.fold("Sum", loop("Mul", dw, normed)), n)
        left = loop("Sub", loop("Sub", dw, first), loop("Mul", normed, second))
        out = loop.store(loop("Mul", left, r))
    else:
        out = loop.store(loop.fold("Sum", loop("Mul", g, normed)), row=True)
        loop.store(loop.fold("Sum", g), row=True)
    mask = [of_input, not of_input, not of_input]

    def run() -> torch.Tensor:
        found = torch.ops.aten.native_layer_norm_backward(td, tx, (size,), mean, rstd, tw, tw, mask)
        return found[0] if of_input else found[1][:, None]

    name = f"layer norm gradient {'dx' if of_input else 'dw, db'} {rows}x{size}"
    return Case(name, loop, out, run, 1e-2)


def cross_entropy(rows: int, size: int) -> Case:
    """Row losses; the mean of 512 numbers is nothing beside them."""
    x = normal(rows, size)
    target = np.random.default_rng(1).integers(0, size, rows)
    picked = x[np.arange(rows), target].copy()
    loop = Loop((rows, size), 1)
    a, t = loop.load(x), loop.load(picked, 1, 0)
    largest = loop.fold("ReduceMax", a)
    total = loop.fold("Sum", loop("Exp", loop("Sub", a, largest)))
    out = loop.store(loop("Sub", loop("Add", loop("Log", total), largest), t), row=True)
    tx, tt = torch.from_numpy(x), torch.from_numpy(target)
    return Case(
        f"cross-entropy {rows}x{size}",
        loop,
        out,
        lambda: functional.cross_entropy(tx, tt, reduction="none").reshape(rows, 1),
    )


def total(count: int) -> Case:
    x = normal(count)
    loop = Loop((count,), 0)
    out = loop.store(loop.fold("Sum", loop.load(x)), row=True)
    held = torch.from_numpy(x)
    return Case(f"sum {count}", loop, out, lambda: held.sum().reshape(1), 1e-1)


def column_sum(rows: int, size: int) -> Case:
    x = normal(rows, size)
    loop = Loop((size, rows), 1)
    out = loop.store(loop.fold("Sum", loop.load(x, 1, size)), row=True)
    held = torch.from_numpy(x)
    return Case(f"bias gradient {rows}x{size}", loop, out, lambda: held.sum(0)[:, None], 1e-2)


def channel_mean(n: int, c: int, area: int) -> Case:
    x = normal(n, c, area)
    loop = Loop((c, n, area), 1)
    out = loop.store(loop.fold("Sum", loop.load(x, area, c * area, 1)), row=True)
    held = torch.from_numpy(x)
    return Case(
        f"channel sums {n}x{c}x{area}",
        loop,
        out,
        lambda: held.sum((0, 2))[:, None, None],
        1e-1,
    )


def transposed(rows: int, size: int) -> Case:
    x = normal(rows, size)
    loop = Loop((size, rows))
    out = loop.store(loop.load(x, 1, size))
    held = torch.from_numpy(x)
    return Case(f"transposed {rows}x{size}", loop, out, lambda: held.T.contiguous())


def heads(batch: int, tokens: int, count: int, size: int) -> Case:
    x = normal(batch, tokens, count, size)
    loop = Loop((batch, count, tokens, size))
    out = loop.store(loop.load(x, tokens * count * size, size, count * size, 1))
    held = torch.from_numpy(x)
    return Case(
        f"heads {batch}x{tokens}x{count}x{size}",
        loop,
        out,
        lambda: held.transpose(1, 2).contiguous(),
    )


def heads_transposed(batch: int, tokens: int, count: int, size: int) -> Case:
    x = normal(batch, tokens, count, size)
    loop = Loop((batch, count, size, tokens))
    out = loop.store(loop.load(x, tokens * count * size, size, 1, count * size))
    held = torch.from_numpy(x)
    return Case(
        f"heads^T {batch}x{tokens}x{count}x{size}",
        loop,
        out,
        lambda: held.permute(0, 2, 3, 1).contiguous(),
    )


def bias_relu(rows: int, size: int) -> Case:
    x, b = normal(rows, size), normal(size)
    loop = Loop((rows, size))
    out = loop.store(loop("Max", loop("Add", loop.load(x), loop.load(b, 0, 1)), loop.literal(0.0)))
    tx, tb = torch.from_numpy(x), torch.from_numpy(b)
    return Case(f"bias and relu {rows}x{size}", loop, out, lambda: torch.relu(tx + tb))


def narrow(rows: int) -> Case:
    x, b = normal(rows, 3), normal(3)
    loop = Loop((rows, 3))
    out = loop.store(loop("Add", loop.load(x), loop.load(b, 0, 1)))
    tx, tb = torch.from_numpy(x), torch.from_numpy(b)
    return Case(f"bias {rows}x3", loop, out, lambda: tx + tb)


def adamw(count: int, *, fused: bool) -> Case:
    """One step, as the instruction defines it; PyTorch's as its default or as one kernel."""
    p, g = normal(count), normal(count)
    loop = Loop((count,))
    a, d = loop.load(p), loop.load(g)
    m, v = loop.load(np.zeros(count, np.float32)), loop.load(np.zeros(count, np.float32))
    power = loop.load(np.array([0.9], np.float32), 0)
    square = loop.load(np.array([0.999], np.float32), 0)
    one, rate = loop.literal(1.0), loop.literal(1e-3)
    kept = loop("Mul", a, loop("Sub", one, loop("Mul", rate, loop.literal(1e-2))))
    m1 = loop("Fma", m, loop.literal(0.9), loop("Mul", d, loop.literal(0.1)))
    v1 = loop("Fma", v, loop.literal(0.999), loop("Mul", loop("Mul", d, d), loop.literal(0.001)))
    second = loop("Sqrt", loop("Sub", one, square))
    root = loop("Add", loop("Div", loop("Sqrt", v1), second), loop.literal(1e-8))
    step = loop("Neg", loop("Div", rate, loop("Sub", one, power)))
    out = loop.store(loop("Fma", step, loop("Div", m1, root), kept))
    loop.store(m1)
    loop.store(v1)
    parameter = torch.nn.Parameter(torch.from_numpy(p.copy()))
    parameter.grad = torch.from_numpy(g)
    optimizer = torch.optim.AdamW([parameter], lr=1e-3, fused=fused)
    first = parameter.detach().clone()

    def run() -> torch.Tensor:
        optimizer.step()
        return first

    title = f"adamw {count}{', fused=True' if fused else ''}"
    return Case(title, loop, out, run, 1e-2)


CASES: tuple[Callable[[], Case], ...] = (
    lambda: unary("Exp", 1 << 20),
    lambda: unary("Tanh", 1 << 20),
    lambda: unary("Neg", 1 << 20),
    lambda: gelu(1 << 20),
    lambda: gelu_gradient(1 << 20),
    lambda: bias_relu(512, 3072),
    lambda: narrow(100_000),
    lambda: softmax(512, 512),
    lambda: softmax(4096, 64),
    lambda: softmax_gradient(512, 512),
    lambda: layer_norm(4096, 768),
    lambda: layer_norm(512, 100),
    lambda: layer_norm_gradient(4096, 768, of_input=True),
    lambda: layer_norm_gradient(4096, 768, of_input=False),
    lambda: cross_entropy(512, 1024),
    lambda: total(1 << 20),
    lambda: total(10_000_000),
    lambda: column_sum(4096, 768),
    lambda: column_sum(64, 512),
    lambda: channel_mean(32, 64, 784),
    lambda: channel_mean(32, 64, 49),
    lambda: transposed(1024, 1024),
    lambda: transposed(500, 300),
    lambda: heads(8, 128, 8, 64),
    lambda: heads_transposed(8, 128, 8, 64),
    lambda: adamw(10_000_000, fused=False),
    lambda: adamw(10_000_000, fused=True),
)


def measure(case: Case, target: Target, pool: Pool, rounds: int) -> dict[str, object]:
    """Medians of both, in turns."""
    ours, made_s = case.loop.compile(target, pool)
    ours()
    expected = case.torch_run().numpy()
    difference = float(np.abs(case.out - expected).max())
    ours_s, torch_s = in_turns(ours, case.torch_run, rounds, pool.threads)
    return {
        "name": case.name,
        "threads": pool.threads,
        "ours_us": round(ours_s * 1e6, 1),
        "torch_us": round(torch_s * 1e6, 1),
        "ratio": round(ours_s / torch_s, 3),
        "made_ms": round(made_s * 1e3, 1),
        "agrees": difference <= case.tolerance,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--target", choices=sorted(TARGETS))
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    target = TARGETS[arguments.target] if arguments.target else this_machine()
    assert target is not None
    rows: list[dict[str, object]] = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        pool = Pool(target, ObjectCache(None), threads)
        title = f"{threads} thread(s)"
        print(f"{title:34}{'ours us':>10}{'torch us':>10}{'ratio':>8}{'made ms':>9}")
        for make in CASES:
            case = make()
            if arguments.only in case.name:
                rows.append(measure(case, target, pool, arguments.rounds))
                show(rows[-1])
        pool.close()
    if not arguments.only:
        save(rows, target)


def show(row: dict[str, object]) -> None:
    """Print a line of the table."""
    note = "" if row["agrees"] else "  DIFFERS"
    print(
        f"{row['name']:34}{row['ours_us']:10}{row['torch_us']:10}{row['ratio']:8}"
        f"{row['made_ms']:9}{note}",
        flush=True,
    )


def save(rows: list[dict[str, object]], target: Target) -> None:
    """Write the figures with the machine that they are from."""
    document = {
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load_1min": os.getloadavg()[0],
            "target": target.name,
            "torch": torch.__version__,
        },
        "rows": rows,
    }
    path = Path(__file__).parent / "results" / "native_loops.json"
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
