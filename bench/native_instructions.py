"""Instructions that are not fused with others, against PyTorch, as a ratio of times.

    python bench/native_instructions.py [--threads 1 2] [--rounds 20] [--only topk]

Each is a Program of one instruction that is run from Python, in turns with the same call of
PyTorch. A figure is a median. Prints a table and writes bench/results/native_instructions.json.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import torch
from torch.nn import functional
from turns import in_turns

from bcai.vm.backends.native.backend import NativeBackend
from bcai.vm.isa.types import Array
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

RANDOM = np.random.default_rng(0)


@dataclass
class Case:
    """One figure. What both give must agree, save of random and of narrow numbers."""

    name: str
    program: VerifiedProgram
    values: dict[str, Array]
    vendor: Callable[[], torch.Tensor]
    agrees: bool = True


def product(dtype: str, rows: int, depth: int, columns: int) -> Case:
    """Of whole numbers, which wrap."""
    build, limits = Builder(), np.iinfo(dtype)
    a = RANDOM.integers(limits.min, limits.max, (rows, depth), dtype, endpoint=True)
    b = RANDOM.integers(limits.min, limits.max, (depth, columns), dtype, endpoint=True)
    ports = (
        build.input("a", f"{dtype}[{rows},{depth}]"),
        build.input("b", f"{dtype}[{depth},{columns}]"),
    )
    left, right = torch.from_numpy(a), torch.from_numpy(b)
    name = f"product {dtype} {rows}x{depth}x{columns}"
    program = build.finish(y=ports[0] @ ports[1])
    return Case(name, program, {"a": a, "b": b}, lambda: left @ right)


def drawn(dtype: str, *shape: int) -> Array:
    """Normal numbers, or whole ones of every size."""
    if dtype.startswith("float"):
        return RANDOM.standard_normal(shape).astype(dtype)
    limits = np.iinfo(dtype)
    return RANDOM.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def top(k: int, dtype: str, *shape: int) -> Case:
    """The k largest of each row."""
    build, x = Builder(), drawn(dtype, *shape)
    port = build.input("x", f"{dtype}[{','.join(map(str, shape))}]")
    values, _ = build.emit("TopK", (port,), {"k": k, "axis": -1, "largest": True})
    held = torch.from_numpy(x)
    name = f"topk {k} of {dtype} {'x'.join(map(str, shape))}"
    return Case(name, build.finish(y=values), {"x": x}, lambda: torch.topk(held, k)[0])


def ordered(dtype: str, *shape: int) -> Case:
    """Rows sorted, with the places."""
    build, x = Builder(), drawn(dtype, *shape)
    port = build.input("x", f"{dtype}[{','.join(map(str, shape))}]")
    values, places = build.emit("Sort", (port,), {"axis": -1, "descending": False})
    held = torch.from_numpy(x)
    name = f"sort {dtype} {'x'.join(map(str, shape))}"
    program = build.finish(y=values, places=places)
    return Case(name, program, {"x": x}, lambda: torch.sort(held, stable=True)[0])


def permutation(count: int) -> Case:
    """Numbers in random order; PyTorch's are others."""
    build = Builder()
    ports = [build.input(name, "int64[]") for name in ("seed", "step")]
    (y,) = build.emit("Permutation", ports, {"stream": 0, "count": count})
    values = {"seed": np.asarray(5, np.int64), "step": np.asarray(1, np.int64)}
    name = f"permutation {count}"
    return Case(name, build.finish(y=y), values, lambda: torch.randperm(count), agrees=False)


def padded(mode: str, width: int, *shape: int) -> Case:
    """The last two axes, on both sides."""
    build, x = Builder(), drawn("float32", *shape)
    port = build.input("x", f"float32[{','.join(map(str, shape))}]")
    amount = (*(0 for _ in shape[:-2]), width, width)
    y = port.emit("PadMode", before=amount, after=amount, mode=mode)
    held = torch.from_numpy(x)
    name = f"pad {mode} {width} of {'x'.join(map(str, shape))}"

    def vendor() -> torch.Tensor:
        return functional.pad(held, (width,) * 4, mode=mode)

    return Case(name, build.finish(y=y), {"x": x}, vendor)


def narrow(x: Array) -> tuple[Array, torch.Tensor]:
    """Numbers rounded to bfloat16, for both."""
    rounded = x.astype(ml_dtypes.bfloat16)
    return rounded, torch.from_numpy(rounded.view(np.int16)).view(torch.bfloat16)


def narrow_product(rows: int, depth: int, columns: int) -> Case:
    """Of bfloat16; PyTorch rounds otherwise inside."""
    build = Builder()
    a, left = narrow(drawn("float32", rows, depth))
    b, right = narrow(drawn("float32", depth, columns))
    ports = (
        build.input("a", f"bfloat16[{rows},{depth}]"),
        build.input("b", f"bfloat16[{depth},{columns}]"),
    )
    program = build.finish(y=ports[0] @ ports[1])
    name = f"product bfloat16 {rows}x{depth}x{columns}"
    return Case(name, program, {"a": a, "b": b}, lambda: left @ right, agrees=False)


def narrow_conv(channels: int, stride: int, *shape: int) -> Case:
    """Of bfloat16, 3 x 3; PyTorch rounds otherwise inside."""
    build = Builder()
    x, images = narrow(drawn("float32", *shape))
    w, taps = narrow(drawn("float32", channels, shape[1], 3, 3))
    port = build.input("x", f"bfloat16[{','.join(map(str, shape))}]")
    weight = build.input("w", f"bfloat16[{channels},{shape[1]},3,3]")
    pads = {"padding_before": (1, 1), "padding_after": (1, 1), "dilation": (1, 1)}
    program = build.finish(y=port.emit("Conv", weight, stride=(stride, stride), **pads))
    name = f"conv bfloat16 {channels}x3x3/{stride} of {'x'.join(map(str, shape))}"

    def vendor() -> torch.Tensor:
        return functional.conv2d(images, taps, stride=stride, padding=1)

    return Case(name, program, {"x": x, "w": w}, vendor, agrees=False)


CASES: tuple[Callable[[], Case], ...] = (
    lambda: product("int64", 512, 512, 512),
    lambda: product("int64", 128, 784, 128),
    lambda: product("int32", 512, 512, 512),
    lambda: product("int32", 1, 1024, 1024),
    lambda: product("int8", 512, 512, 512),
    lambda: top(10, "float32", 1_000_000),
    lambda: top(1000, "float32", 1_000_000),
    lambda: top(100, "int64", 1_000_000),
    lambda: top(50, "float32", 64, 32_000),
    lambda: top(5, "float32", 1000, 1000),
    lambda: ordered("float32", 1_000_000),
    lambda: ordered("float64", 1_000_000),
    lambda: ordered("int64", 1_000_000),
    lambda: ordered("float32", 1000, 1000),
    lambda: permutation(1_000_000),
    lambda: permutation(60_000),
    lambda: padded("reflect", 2, 32, 32, 32, 32),
    lambda: padded("replicate", 3, 1, 3, 512, 512),
    lambda: padded("circular", 8, 1, 1, 1000, 1000),
    lambda: narrow_product(1024, 1024, 1024),
    lambda: narrow_product(1, 1024, 1024),
    lambda: narrow_conv(64, 1, 32, 64, 56, 56),
    lambda: narrow_conv(32, 1, 8, 32, 28, 28),
    lambda: narrow_conv(128, 2, 8, 64, 56, 56),
)


def measure(make: Callable[[], Case], backend: NativeBackend, rounds: int) -> dict[str, object]:
    """Medians of both, in turns."""
    case, threads = make(), backend.threads or 1
    executable = backend.compile(case.program)
    found, expected = executable.run(case.values)["y"], case.vendor()
    assert not case.agrees or np.array_equal(found, expected.numpy()), case.name
    ours_s, torch_s = in_turns(lambda: executable.run(case.values), case.vendor, rounds, threads)
    return {
        "name": case.name,
        "threads": threads,
        "ours_us": round(ours_s * 1e6, 1),
        "torch_us": round(torch_s * 1e6, 1),
        "ratio": round(ours_s / torch_s, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        backend = NativeBackend(threads=threads)
        title = f"{threads} thread(s)"
        print(f"{title:40}{'ours us':>10}{'torch us':>10}{'ratio':>8}")
        for make in CASES:
            if arguments.only in make().name:
                row = measure(make, backend, arguments.rounds)
                rows.append(row)
                cells = f"{row['ours_us']:10}{row['torch_us']:10}{row['ratio']:8}"
                print(f"{row['name']:40}{cells}", flush=True)
    if not arguments.only:
        save(rows)


def save(rows: list[dict[str, object]]) -> None:
    """Write the figures with the machine that they are from."""
    machine = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_1min": os.getloadavg()[0],
        "torch": torch.__version__,
    }
    path = Path(__file__).parent / "results" / "native_instructions.json"
    path.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
