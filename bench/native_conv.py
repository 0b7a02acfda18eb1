"""Native convolutions, their gradients and pools against PyTorch's: turn about, a ratio of times.

    python bench/native_conv.py [--threads 1 2] [--rounds 50] [--set layers resnet18 cnn pools]

One thread is measured in time of the thread, so that other work on the machine counts for little;
several in time on the wall, which says something on a quiet machine only. A figure is the median of
the rounds. Ours includes packing the weights. Prints a table and writes
bench/results/native_conv.json.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nn
from native_contraction import Prepared, view
from turns import in_turns

from bcai.vm.backends.native.code import load_kernels
from bcai.vm.backends.native.kernels import LOWERINGS
from bcai.vm.backends.native.launch import Address
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.backends.native.objects import ObjectCache, this_machine
from bcai.vm.backends.native.pool import Pool
from bcai.vm.backends.native.tape import ARGUMENTS, ENTRY, GRAIN, RECORD_WORDS, UNITS
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import Buffer, OpTask, Role
from bcai.vm.isa.versions import LATEST

ROUND_OPERATIONS = 3e10
"""Rounds are fewer where one is long."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A square convolution: images, channels, size, output channels, kernel, stride, padding."""

    images: int
    channels: int
    size: int
    columns: int
    kernel: int
    stride: int
    padding: int

    def __str__(self) -> str:
        shape = f"{self.images}x{self.channels}x{self.size}x{self.size}"
        return f"{shape} -> {self.columns}, {self.kernel}x{self.kernel}/{self.stride}"


SETS: dict[str, tuple[Layer, ...]] = {
    "layers": (Layer(32, 64, 56, 64, 3, 1, 1), Layer(1, 3, 224, 64, 7, 2, 3)),
    "resnet18": (
        Layer(16, 3, 224, 64, 7, 2, 3),
        Layer(16, 64, 56, 64, 3, 1, 1),
        Layer(16, 64, 56, 128, 3, 2, 1),
        Layer(16, 64, 56, 128, 1, 2, 0),
        Layer(16, 128, 28, 128, 3, 1, 1),
        Layer(16, 128, 28, 256, 3, 2, 1),
        Layer(16, 128, 28, 256, 1, 2, 0),
        Layer(16, 256, 14, 256, 3, 1, 1),
        Layer(16, 256, 14, 512, 3, 2, 1),
        Layer(16, 256, 14, 512, 1, 2, 0),
        Layer(16, 512, 7, 512, 3, 1, 1),
    ),
    "single": (
        Layer(1, 64, 56, 64, 3, 1, 1),
        Layer(1, 128, 28, 128, 3, 1, 1),
        Layer(1, 256, 14, 256, 3, 1, 1),
        Layer(1, 512, 7, 512, 3, 1, 1),
    ),
    "cnn": (Layer(32, 1, 28, 32, 3, 1, 1), Layer(32, 32, 28, 64, 3, 1, 1)),
}
POOLS = ((32, 32, 28, 2, 2, 0), (32, 64, 14, 2, 2, 0), (16, 64, 112, 3, 2, 1))
"""Images, channels, size, kernel, stride, padding."""


@dataclass(frozen=True, slots=True)
class Case:
    """One instruction and what PyTorch does for it; `results` are PyTorch's."""

    what: str
    name: str
    operands: tuple[torch.Tensor, ...]
    attributes: dict[str, Any]
    other: Callable[[], Any]
    operations: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--set", nargs="+", choices=[*SETS, "pools"], default=[*SETS, "pools"])
    options = parser.parse_args()
    target = this_machine()
    if target is None:
        raise SystemExit("no native code for this processor")
    rows: list[dict[str, object]] = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        pool = Pool(target, ObjectCache(None), threads)
        print(f"{target.name}, float32, {threads} thread(s): ms, and as a part of PyTorch's")
        for chosen in options.set:
            for title, cases in listed(chosen):
                cells = [measure(title, each, target, pool, options.rounds) for each in cases]
                rows += cells
                line = "   ".join(
                    f"{cell['what']:>6} {cell['native_ms']:8.3f} {cell['ratio']:5.2f}"
                    for cell in cells
                )
                print(f"{title:>34}   {line}", flush=True)
        pool.close()
    save(rows, target)


def listed(chosen: str) -> list[tuple[str, list[Case]]]:
    """Titles and cases of a set."""
    if chosen != "pools":
        return [(str(each), convolutions(each)) for each in SETS[chosen]]
    return [
        (f"{n}x{c}x{s}x{s}, {k}x{k}/{t}", pools(n, c, s, k, t, p)) for n, c, s, k, t, p in POOLS
    ]


def convolutions(layer: Layer) -> list[Case]:
    """A convolution and its two gradients."""
    x = torch.randn(layer.images, layer.channels, layer.size, layer.size)
    w = torch.randn(layer.columns, layer.channels, layer.kernel, layer.kernel)
    stride, padding = (layer.stride,) * 2, (layer.padding,) * 2
    d = torch.randn_like(nn.conv2d(x, w, stride=stride, padding=padding))
    attributes = {
        "stride": stride, "padding_before": padding, "padding_after": padding,
        "dilation": (1, 1), "groups": 1,
    }  # fmt: skip
    operations = 2.0 * d.numel() * w[0].numel()

    def back(place: int) -> Callable[[], Any]:
        wanted = [place == 0, place == 1, False]
        return lambda: torch.ops.aten.convolution_backward(
            d, x, w, None, stride, padding, (1, 1), False, (0, 0), 1, wanted
        )[place]

    of_x, of_w = {"input_shape": tuple(x.shape)}, {"weight_shape": tuple(w.shape)}
    return [
        Case(
            "y", "Conv", (x, w), attributes,
            lambda: nn.conv2d(x, w, stride=stride, padding=padding), operations,
        ),
        Case("dx", "ConvInputGrad", (d, w), attributes | of_x, back(0), operations),
        Case("dw", "ConvWeightGrad", (d, x), attributes | of_w, back(1), operations),
    ]  # fmt: skip


def pools(
    images: int, channels: int, size: int, kernel: int, stride: int, padding: int
) -> list[Case]:
    """The largest and the mean of windows, and their gradients."""
    x = torch.randn(images, channels, size, size)
    axes = (kernel,) * 2, (stride,) * 2, (padding,) * 2
    geometry = {
        "kernel": axes[0], "stride": axes[1], "padding_before": axes[2], "padding_after": axes[2],
        "ceil": False,
    }  # fmt: skip
    largest, dilated = geometry | {"dilation": (1, 1)}, ((1, 1), False)
    mean = geometry | {"count_include_pad": True}
    aten = torch.ops.aten
    y, places = aten.max_pool2d_with_indices(x, *axes)
    d, of_x = torch.randn_like(y), {"input_shape": tuple(x.shape)}
    return [
        Case(
            "max", "MaxPool", (x,), largest,
            lambda: aten.max_pool2d_with_indices(x, *axes)[0], 10.0 * x.numel(),
        ),
        Case(
            "grad", "MaxPoolGrad", (d, places), of_x,
            lambda: aten.max_pool2d_with_indices_backward(d, x, *axes, *dilated, places),
            10.0 * x.numel(),
        ),
        Case("mean", "AvgPool", (x,), mean, lambda: nn.avg_pool2d(x, *axes), 10.0 * x.numel()),
        Case(
            "grad", "AvgPoolGrad", (d,), mean | of_x,
            lambda: aten.avg_pool2d_backward(d, x, *axes, False, True, None), 10.0 * x.numel(),
        ),
    ]  # fmt: skip


def measure(title: str, case: Case, target: Target, pool: Pool, rounds: int) -> dict[str, object]:
    """Medians of both sides for one instruction."""
    run, result = prepare(case, target, pool)
    count = max(7, min(rounds, int(ROUND_OPERATIONS / (case.operations + 1e6))))
    native, vendor = in_turns(run, case.other, count, pool.threads)
    expected = case.other()
    assert (result - expected).abs().max() <= 1e-4 * expected.abs().max()
    return {
        "layer": title,
        "what": case.what,
        "instruction": case.name,
        "threads": pool.threads,
        "native_ms": native * 1e3,
        "torch_ms": vendor * 1e3,
        "ratio": native / vendor,
        "native_gflops": case.operations / native / 1e9,
    }


def prepare(case: Case, target: Target, pool: Pool) -> tuple[Prepared, torch.Tensor]:
    """Lower an instruction and lay out its tape; also its first result, to be written."""
    op = LATEST.by_name[case.name]
    types = op.type_rule.infer(*(view(0, each).type for each in case.operands), **case.attributes)
    results = [
        torch.from_numpy(np.zeros(each.shape, each.dtype.numpy))
        for each in (types if isinstance(types, tuple) else (types,))
    ]
    tensors = [*case.operands, *results]
    views = [view(number, each) for number, each in enumerate(tensors)]
    buffers = [Buffer(number, each.nbytes, Role.INPUT) for number, each in enumerate(tensors)]
    scope = Scope(target, pool.threads, buffers)
    count = len(case.operands)
    task = OpTask(op, case.attributes, tuple(views[:count]), tuple(views[count:]), 0)
    made = LOWERINGS[case.name](task, scope)
    assert made is not None
    launches = [*scope.launches, *made]
    code = load_kernels([each.kernel for each in launches], target, ObjectCache(None))
    room = [
        torch.zeros(each.nbytes + 64, dtype=torch.uint8) for each in scope.buffers[len(tensors) :]
    ]
    bases = [each.data_ptr() for each in tensors]
    bases += [each.data_ptr() + -each.data_ptr() % 64 for each in room]
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
    scratch = max(each.scratch_bytes for each in launches)
    return Prepared(pool, tape, scratch, held), results[0]


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
    path = Path(__file__).parent / "results" / "native_conv.json"
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
