"""Pools over one to three spatial axes: taps are folded in ascending (row-major) order."""

import math

import numpy as np

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Bound, Call, Gradients, Types, case, instruction, types_of
from bcai.vm.isa.ops.index import check_indices
from bcai.vm.isa.order import widen
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import FLOATS, NUMBERS, Array, DType, TensorType
from bcai.vm.isa.widened import widened
from bcai.vm.isa.windows import Window, read_windows

Ints = tuple[int, ...]


def _spatial(x: TensorType) -> Ints:
    if not 3 <= x.rank <= 5:
        raise VerifyError(f"{x}: expected [n, channels, 1 to 3 sizes]")
    return x.shape[2:]


def _max_pool(
    x: TensorType,
    *,
    kernel: Ints,
    stride: Ints,
    padding_before: Ints,
    padding_after: Ints,
    dilation: Ints,
    ceil: bool,
) -> Types:
    window = Window(kernel, stride, padding_before, padding_after, dilation)
    sizes = window.output_sizes(_spatial(x), ceil=ceil)
    for k, d, before, after in zip(kernel, dilation, padding_before, padding_after, strict=True):
        if max(before, after) > d * (k - 1):
            raise VerifyError("padding as wide as the window: it would see no element")
    if not math.prod(x.shape[2:]):
        raise VerifyError(f"{x} has no element to pool")
    result = x.with_shape(*x.shape[:2], *sizes)
    return result, result.with_dtype(DType.int64)


_ONE = {
    "kernel": (2,), "stride": (2,), "padding_before": (0,), "padding_after": (0,), "dilation": (1,),
}  # fmt: skip
_TWO = {
    "kernel": (3, 2), "stride": (2, 1), "padding_before": (1, 0), "padding_after": (1, 1),
    "dilation": (1, 2),
}  # fmt: skip


@instruction(
    opcode=0x0580,
    dtypes=NUMBERS,
    types=types_of(
        _max_pool,
        accepts=(
            case("float32[2,3,5]", **_ONE, ceil=False),
            case("float32[2,3,5]", **_ONE, ceil=True),
            case("float32[1,2,5,4]", **_TWO, ceil=False),
            case(
                "float32[1,1,3,3,2]", kernel=(2, 2, 2), stride=(1, 1, 1), dilation=(1, 1, 1),
                padding_before=(0, 0, 0), padding_after=(0, 0, 0), ceil=False,
            ),
        ),
        rejects=(
            case("float32[2,3,1]", **_ONE, ceil=False),
            case("float32[3,5]", **_ONE, ceil=False),
            case("float32[2,3,5]", **(_ONE | {"padding_before": (2,)}), ceil=False),
        ),
    ),
)  # fmt: skip
def max_pool(
    x: Array,
    *,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding_before: tuple[int, ...],
    padding_after: tuple[int, ...],
    dilation: tuple[int, ...],
    ceil: bool = False,
) -> tuple[Array, Array]:
    """Largest element of each window, and its place in the plane (int64, row-major).

    The first of equals wins, and not-a-number wins over all. Source: ONNX MaxPool-22.
    """
    window = Window(kernel, stride, padding_before, padding_after, dilation)
    sizes, rank = x.shape[2:], len(kernel)
    outputs = window.output_sizes(sizes, ceil=ceil)
    tables = window.tables(sizes, outputs)
    plane = np.arange(math.prod(sizes), dtype=np.int64).reshape(1, 1, *sizes)
    places = _taps(read_windows(plane, tables, -1), rank)
    values = _taps(read_windows(widen(x), tables), rank)
    best = np.full(values.shape[:2] + values.shape[3:], -1, np.int64)
    largest = np.zeros(best.shape, values.dtype)
    for tap in range(values.shape[2]):
        value, place = values[:, :, tap], places[:, :, tap]
        wins = (best < 0) | (value > largest) | (np.isnan(value) & ~np.isnan(largest))
        wins &= (place >= 0) & ~((best >= 0) & np.isnan(largest))
        largest = np.where(wins, value, largest)
        best = np.where(wins, place, best)
    return largest.astype(x.dtype), best


def _taps(read: Array, rank: int) -> Array:
    """Bring `[n, c, *kernel, *out]` to `[n, c, taps, *out]`."""
    shape = read.shape
    return read.reshape(*shape[:2], math.prod(shape[2 : 2 + rank]), *shape[2 + rank :])


@max_pool.gradient
def _(call: Call) -> Gradients:
    x = call[0]
    return (call.d.emit("MaxPoolGrad", call.results[1], input_shape=x.shape),)


def _max_pool_grad(d: TensorType, places: TensorType, *, input_shape: Ints) -> Types:
    sizes = _spatial(d)
    if places != TensorType(DType.int64, d.shape):
        raise VerifyError(f"places are {places}, expected {d.with_dtype(DType.int64)}")
    if len(input_shape) != 2 + len(sizes) or input_shape[:2] != d.shape[:2]:
        raise VerifyError(f"input_shape is {input_shape}, which does not fit {d}")
    return d.with_shape(*input_shape)


@instruction(
    opcode=0x0581,
    dtypes=FLOATS,
    types=types_of(
        _max_pool_grad,
        accepts=(
            case("float32[1,2,3]", "int64[1,2,3]", input_shape=(1, 2, 5)),
            case("float32[1,1,2,2]", "int64[1,1,2,2]", input_shape=(1, 1, 3, 2)),
        ),
        rejects=(
            case("float32[1,2,3]", "int64[1,2,2]", input_shape=(1, 2, 5)),
            case("float32[1,2,3]", "int64[1,2,3]", input_shape=(1, 3, 5)),
        ),
    ),
)
def max_pool_grad(d: Array, places: Array, *, input_shape: tuple[int, ...]) -> Array:
    """Zeros with each `d` added at its place in the plane, in ascending order of `d`."""
    size = math.prod(input_shape[2:])
    planes = math.prod(d.shape[:2])
    total = np.zeros((planes, size), widen(d).dtype)
    given = widen(d).reshape(planes, math.prod(d.shape[2:]))
    at = check_indices(places, size, "MaxPoolGrad").reshape(given.shape)
    rows: Array = np.arange(planes)
    for source in range(given.shape[1]):
        total[rows, at[:, source]] = total[rows, at[:, source]] + given[:, source]
    return total.reshape(input_shape).astype(d.dtype)


@max_pool_grad.gradient
def _(call: Call) -> Gradients:
    d, places = call[0], call[1]
    planes = d.shape[0] * d.shape[1]
    size = math.prod(call.attributes["input_shape"][2:])
    flat = places.reshape(planes, math.prod(d.shape[2:]))
    picked = call.d.reshape(planes, size).emit("GatherElements", flat, axis=1)
    return picked.reshape(*d.shape), None


def _avg_pool(
    x: TensorType,
    *,
    kernel: Ints,
    stride: Ints,
    padding_before: Ints,
    padding_after: Ints,
    ceil: bool,
    count_include_pad: bool,
) -> Types:
    del count_include_pad
    window = _avg_window(kernel, stride, padding_before, padding_after)
    sizes = window.output_sizes(_spatial(x), ceil=ceil)
    for k, before, after in zip(kernel, padding_before, padding_after, strict=True):
        if max(before, after) > k - 1:
            raise VerifyError("padding as wide as the window: it would see no element")
    return x.with_shape(*x.shape[:2], *sizes)


def _avg_window(kernel: Ints, stride: Ints, before: Ints, after: Ints) -> Window:
    return Window(kernel, stride, before, after, (1,) * len(kernel))


_AVG = {"kernel": (3,), "stride": (2,), "padding_before": (1,), "padding_after": (1,)}
_AVG_2D = {
    "kernel": (2, 3), "stride": (1, 2), "padding_before": (0, 1), "padding_after": (1, 1),
}  # fmt: skip


@instruction(
    opcode=0x0582,
    dtypes=FLOATS,
    bound=Bound(ulp=2, terms_ulp=1),
    types=types_of(
        _avg_pool,
        accepts=(
            case("float32[2,3,5]", **_AVG, ceil=False, count_include_pad=True),
            case("float32[2,3,6]", **_AVG, ceil=True, count_include_pad=False),
            case("float32[2,3,6]", **_AVG, ceil=True, count_include_pad=True),
            case("float32[1,2,4,5]", **_AVG_2D, ceil=False, count_include_pad=False),
        ),
        rejects=(
            case("float32[3,5]", **_AVG, ceil=False, count_include_pad=True),
            case(
                "float32[2,3,5]", **(_AVG | {"padding_after": (3,)}),
                ceil=False, count_include_pad=True,
            ),
        ),
    ),
)  # fmt: skip
def avg_pool(
    x: Array,
    *,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding_before: tuple[int, ...],
    padding_after: tuple[int, ...],
    ceil: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Mean of each window: taps added one after the other from +0, then divided by their count.

    `count_include_pad` counts padding too, but never what lies beyond it.
    Source: ONNX AveragePool-22, `torch.nn.AvgPool2d`.
    """
    window = _avg_window(kernel, stride, padding_before, padding_after)
    outputs = window.output_sizes(x.shape[2:], ceil=ceil)
    values = _taps(read_windows(widen(x), window.tables(x.shape[2:], outputs)), len(kernel))
    total = np.zeros(values.shape[:2] + values.shape[3:], values.dtype)
    for tap in range(values.shape[2]):
        total = total + values[:, :, tap]
    counts = window_counts(window, x.shape[2:], outputs, count_include_pad)
    return (total / counts.astype(total.dtype)).astype(x.dtype)


def window_counts(window: Window, sizes: Ints, outputs: Ints, include_pad: bool) -> Array:
    """How many taps of each window count: `int64[*out]`."""
    counts = np.ones((1,) * 0, np.int64)
    for axis, (size, output) in enumerate(zip(sizes, outputs, strict=True)):
        before, after = window.padding_before[axis], window.padding_after[axis]
        tap = np.arange(window.kernel[axis])[:, None]
        place = np.arange(output)[None, :] * window.stride[axis] + tap - before
        low, high = (-before, size + after) if include_pad else (0, size)
        counts = np.multiply.outer(counts, ((place >= low) & (place < high)).sum(0))
    return counts


@avg_pool.gradient
def _(call: Call) -> Gradients:
    return (call.d.emit("AvgPoolGrad", input_shape=call[0].shape, **call.attributes),)


def _avg_pool_grad(
    d: TensorType,
    *,
    input_shape: Ints,
    kernel: Ints,
    stride: Ints,
    padding_before: Ints,
    padding_after: Ints,
    ceil: bool,
    count_include_pad: bool,
) -> Types:
    x = d.with_shape(*input_shape)
    result = _avg_pool(
        x,
        kernel=kernel,
        stride=stride,
        padding_before=padding_before,
        padding_after=padding_after,
        ceil=ceil,
        count_include_pad=count_include_pad,
    )
    if result != d:
        raise VerifyError(f"{d} is not the result of a pool of {x}, which is {result}")
    return x


@instruction(
    opcode=0x0583,
    dtypes=FLOATS,
    bound=Bound(ulp=2, terms_ulp=1),
    types=types_of(
        _avg_pool_grad,
        accepts=(
            case(
                "float32[2,3,3]", input_shape=(2, 3, 5), **_AVG, ceil=False, count_include_pad=True
            ),
            case(
                "float32[1,2,4,3]", input_shape=(1, 2, 4, 5), **_AVG_2D,
                ceil=False, count_include_pad=False,
            ),
        ),
        rejects=(
            case(
                "float32[2,3,4]", input_shape=(2, 3, 5), **_AVG, ceil=False, count_include_pad=True
            ),
        ),
    ),
)  # fmt: skip
def avg_pool_grad(
    d: Array,
    *,
    input_shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding_before: tuple[int, ...],
    padding_after: tuple[int, ...],
    ceil: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Gradient of `AvgPool`: the shares `d / count` of every window that saw an element, added up.

    An element's windows are taken in ascending order of the tap that saw it.
    """
    window = _avg_window(kernel, stride, padding_before, padding_after)
    sizes, outputs = input_shape[2:], d.shape[2:]
    counts = window_counts(window, sizes, outputs, count_include_pad)
    shares = widen(d) / counts.astype(widen(d).dtype)
    read = read_windows(shares, window.transposed_tables(sizes, outputs))
    values = _taps(read, len(kernel))
    total = np.zeros(values.shape[:2] + values.shape[3:], values.dtype)
    for tap in range(values.shape[2]):
        total = total + values[:, :, tap]
    return total.astype(d.dtype)


@avg_pool_grad.gradient
def _(call: Call) -> Gradients:
    at = dict(call.attributes)
    del at["input_shape"]
    return (call.d.emit("AvgPool", **at),)


def _adaptive(x: TensorType, *, output: Ints) -> Types:
    sizes = _spatial(x)
    if len(output) != len(sizes) or min(output) < 1 or min(sizes) < 1:
        raise VerifyError(f"output is {output}, expected {len(sizes)} sizes of at least 1")
    return x.with_shape(*x.shape[:2], *output)


@instruction(
    opcode=0x0584,
    dtypes=FLOATS,
    bound=Bound(ulp=4, terms_ulp=2),
    types=types_of(
        _adaptive,
        accepts=(
            case("float32[2,3,7]", output=(3,)),
            case("float32[1,2,4,5]", output=(1, 1)),
            case("float32[1,2,4,3]", output=(2, 5)),
        ),
        rejects=(case("float32[2,3,7]", output=(0,)), case("float32[2,3]", output=(1,))),
    ),
)
def adaptive_avg_pool(x: Array, *, output: tuple[int, ...]) -> Array:
    """Mean over windows that divide each axis as evenly as can be: i*n/o up to ceil((i+1)*n/o).

    Each axis is pooled for itself, the last one first: `Sum` of the window, divided by its length.
    Source: `torch.nn.AdaptiveAvgPool2d`.
    """
    y = x
    for axis in range(x.ndim - 1, 1, -1):
        parts = [
            y.take(range(first, last), axis).mean(axis, keepdims=True)
            for first, last in _adaptive_windows(x.shape[axis], output[axis - 2])
        ]
        y = np.concatenate(parts, axis)
    return y


def _adaptive_windows(size: int, output: int) -> list[tuple[int, int]]:
    return [(i * size // output, -(-(i + 1) * size // output)) for i in range(output)]


@adaptive_avg_pool.lowering
@widened
def _(call: Call) -> Symbol:
    y = call[0]
    for axis in range(len(y.shape) - 1, 1, -1):
        size, output = call[0].shape[axis], call.attributes["output"][axis - 2]
        if size == output:
            continue
        parts = [
            y.emit("Slice", axis=axis, start=first, stop=last, step=1).emit(
                "Mean", axes=(axis,), keepdims=True
            )
            for first, last in _adaptive_windows(size, output)
        ]
        y = parts[0] if output == 1 else call.builder.emit("Concat", parts, {"axis": axis})[0]
    return y


OPS = (max_pool, max_pool_grad, avg_pool, avg_pool_grad, adaptive_avg_pool)
