"""Convolutions and pools: what slides a window."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tests.conformance.onnx.importer import Node, Results, onnx_op
from tests.conformance.onnx.rules.layout import sliced

from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType


@dataclass(frozen=True, slots=True)
class Window:
    """Kernel, stride, dilation and padding of every spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def reach(self) -> tuple[int, ...]:
        """Elements from the first tap to the last."""
        pairs = zip(self.kernel, self.dilation, strict=True)
        return tuple(d * (k - 1) + 1 for k, d in pairs)


def window_of(node: Node, size: Sequence[int], kernel: Sequence[int]) -> Window:
    """Read the attributes that convolutions and pools share."""
    rank = len(size)
    stride = node.integers("strides", [1] * rank)
    dilation = node.integers("dilations", [1] * rank)
    pads = node.integers("pads", [0] * 2 * rank)
    before, after = pads[:rank], pads[rank:]
    automatic = node.text("auto_pad", "NOTSET")
    plain = Window(tuple(kernel), stride, dilation, before, after)
    if automatic in ("NOTSET", ""):
        return plain
    if automatic == "VALID":
        return Window(plain.kernel, stride, dilation, (0,) * rank, (0,) * rank)
    total = [
        max(0, (-(-n // s) - 1) * s + reach - n)
        for n, s, reach in zip(size, stride, plain.reach, strict=True)
    ]
    low, high = tuple(n // 2 for n in total), tuple(n - n // 2 for n in total)
    if automatic == "SAME_LOWER":
        low, high = high, low
    return Window(plain.kernel, stride, dilation, low, high)


def convolve(
    node: Node, x: Symbol, w: Symbol, b: Symbol | None, window: Window, groups: int
) -> Symbol:
    """Our convolution with a window."""
    return node.emit(
        "Conv",
        x,
        w,
        b,
        stride=window.stride,
        padding_before=window.before,
        padding_after=window.after,
        dilation=window.dilation,
        groups=groups,
    )


@onnx_op("Conv")
def conv(node: Node) -> Results:
    x, w = node[0], node[1]
    window = window_of(node, x.shape[2:], w.shape[2:])
    return convolve(node, x, w, node.get(2), window, node.integer("group", 1))


@onnx_op("ConvTranspose")
def conv_transpose(node: Node) -> Results:
    x, w, bias = node[0], node[1], node.get(2)
    size, rank = x.shape[2:], len(x.shape) - 2
    stride = node.integers("strides", [1] * rank)
    dilation = node.integers("dilations", [1] * rank)
    full = node.emit(
        "ConvTranspose",
        x,
        w,
        stride=stride,
        padding=(0,) * rank,
        output_padding=(0,) * rank,
        dilation=dilation,
        groups=node.integer("group", 1),
    )
    more = node.integers("output_padding", [0] * rank)
    full = _kept(
        node, full, size, [n + extra for n, extra in zip(full.shape[2:], more, strict=True)]
    )
    return full if bias is None else full + bias.reshape(bias.shape[0], *[1] * rank)


def _kept(node: Node, full: Symbol, size: Sequence[int], length: Sequence[int]) -> Symbol:
    """The part of the full convolution, made `length` long, that padding or a shape leaves."""
    rank = len(size)
    automatic = node.text("auto_pad", "NOTSET")
    if node.has("output_shape"):
        wanted = node.integers("output_shape")[-rank:]
    elif automatic in ("SAME_UPPER", "SAME_LOWER"):
        stride = node.integers("strides", [1] * rank)
        wanted = tuple(n * s for n, s in zip(size, stride, strict=True))
    else:
        pads = node.integers("pads", [0] * 2 * rank)
        wanted = tuple(n - pads[i] - pads[i + rank] for i, n in enumerate(length))
    total = [max(0, n - w) for n, w in zip(length, wanted, strict=True)]
    if node.has("pads") and not node.has("output_shape"):
        starts = node.integers("pads")[:rank]
    else:
        starts = tuple(n // 2 if automatic == "SAME_UPPER" else n - n // 2 for n in total)
    for axis, (start, count) in enumerate(zip(starts, wanted, strict=True), start=2):
        missing = start + count - full.shape[axis]
        if missing > 0:
            after = tuple(missing if each == axis else 0 for each in range(rank + 2))
            full = node.emit("Pad", full, before=(0,) * (rank + 2), after=after)
        full = sliced(full, axis, start, start + count)
    return full


@onnx_op("GlobalAveragePool", "GlobalMaxPool")
def global_pool(node: Node) -> Results:
    name = "Mean" if node.raw.op == "GlobalAveragePool" else "ReduceMax"
    return node.emit(name, node[0], axes=tuple(range(2, len(node[0].shape))), keepdims=True)


@onnx_op("MaxPool")
def max_pool(node: Node) -> Results:
    x = node[0]
    size = x.shape[2:]
    window = window_of(node, size, node.integers("kernel_shape"))
    values, places = node.all(
        "MaxPool",
        x,
        kernel=window.kernel,
        stride=window.stride,
        padding_before=window.before,
        padding_after=window.after,
        dilation=window.dilation,
        ceil=bool(node.integer("ceil_mode", 0)),
    )
    if not node.wants(1):
        return values
    if node.integer("storage_order", 0):
        height, width = size
        places = node.emit("Mod", places, width) * height + node.emit("Div", places, width)
    planes = node.arange(x.shape[0] * x.shape[1]) * math.prod(size)
    return values, places + planes.reshape(*x.shape[:2], *[1] * len(size))


@onnx_op("MaxUnpool")
def max_unpool(node: Node) -> Results:
    x, places = node[0], node[1]
    rank = len(x.shape) - 2
    kernel, stride = node.integers("kernel_shape"), node.integers("strides", [1] * rank)
    pads = node.integers("pads", [0] * 2 * rank)
    natural = tuple(
        (n - 1) * stride[i] + kernel[i] - pads[i] - pads[i + rank]
        for i, n in enumerate(x.shape[2:])
    )
    shape = (*x.shape[:2], *natural)
    result = node.emit(
        "ScatterElements",
        node.zeros((math.prod(shape),), x),
        places.reshape(x.type.elements),
        x.reshape(x.type.elements),
        axis=0,
    ).reshape(*shape)
    if node.get(2) is None:
        return result
    more = [n - have for n, have in zip(node.known_ints(2), shape, strict=True)]
    return node.emit("Pad", result, before=(0,) * (rank + 2), after=tuple(more))


@onnx_op("AveragePool")
def average_pool(node: Node) -> Results:
    x = node[0]
    window = window_of(node, x.shape[2:], node.integers("kernel_shape"))
    ceil = bool(node.integer("ceil_mode", 0))
    padded = bool(node.integer("count_include_pad", 0))
    if max(window.dilation) == 1:
        return node.emit(
            "AvgPool",
            x,
            kernel=window.kernel,
            stride=window.stride,
            padding_before=window.before,
            padding_after=window.after,
            ceil=ceil,
            count_include_pad=padded,
        )
    total, counts = _window_sum(node, x, window, ceil, padded)
    return total / node.constant(counts, x)


@onnx_op("LpPool")
def lp_pool(node: Node) -> Results:
    x, p = node[0], node.integer("p", 2)
    window = window_of(node, x.shape[2:], node.integers("kernel_shape"))
    powers = x * x if p == 2 else node.emit("Pow", abs(x), float(p))
    total, _ = _window_sum(node, powers, window, bool(node.integer("ceil_mode", 0)), padded=True)
    return node.emit("Sqrt", total) if p == 2 else node.emit("Pow", total, 1.0 / p)


def _window_sum(
    node: Node, x: Symbol, window: Window, ceil: bool, padded: bool
) -> tuple[Symbol, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """Sum of each window, as a convolution with ones, and how many taps count."""
    size, rank, channels = x.shape[2:], len(x.shape) - 2, x.shape[1]
    after, counts = list(window.after), np.ones(())
    for axis in range(rank):
        n, s, reach = size[axis], window.stride[axis], window.reach[axis]
        spare = n + window.before[axis] + window.after[axis] - reach
        steps = -(-spare // s) if ceil else spare // s
        if steps * s >= n + window.before[axis]:
            steps -= 1
        after[axis] += max(0, steps * s - spare)
        start = np.arange(steps + 1)[:, None] * s - window.before[axis]
        taps = start + np.arange(window.kernel[axis]) * window.dilation[axis]
        low = -window.before[axis] if padded else 0
        high = n + (window.after[axis] if padded else 0)
        counts = np.multiply.outer(counts, ((taps >= low) & (taps < high)).sum(1))
    grown = Window(window.kernel, window.stride, window.dilation, window.before, tuple(after))
    ones = node.zeros((channels, 1, *window.kernel), x, 1.0)
    total = convolve(node, x, ones, None, grown, channels)
    return total[(slice(None), slice(None), *(slice(0, n) for n in counts.shape))], counts


@onnx_op("ConvInteger", "QLinearConv")
def conv_integer(node: Node) -> Results:
    """Whole numbers below 2^24 are exact in float32, whatever the order."""
    if node.raw.op == "ConvInteger":
        x, w = (_centred(node, index, index + 2) for index in range(2))
        window = window_of(node, x.shape[2:], w.shape[2:])
        return convolve(node, x, w, None, window, node.integer("group", 1)).cast(DType.int32)
    x, w = _centred(node, 0, 2), _centred(node, 3, 5)
    window = window_of(node, x.shape[2:], w.shape[2:])
    sums = convolve(node, x, w, None, window, node.integer("group", 1))
    shape = (1, w.shape[0], *[1] * (len(x.shape) - 2))
    scale = node[1] * node[4].reshape(*shape if node[4].type.elements > 1 else ())
    bias = node.get(8)
    if bias is not None:
        sums = sums + bias.cast(DType.float32).reshape(*shape)
    scaled = node.emit("Round", sums * scale / node[6].reshape())
    return (scaled + node[7].cast(DType.float32)).cast(node[7].dtype)


def _centred(node: Node, index: int, zero: int) -> Symbol:
    """A quantised input minus its zero point, in float32."""
    x, point = node[index].cast(DType.float32), node.get(zero)
    if point is None:
        return x
    offset = point.cast(DType.float32)
    per_channel = offset.type.elements > 1
    shape = (offset.type.elements, *[1] * (len(x.shape) - 1)) if per_channel else ()
    return x - offset.reshape(*shape)


@onnx_op("CausalConvWithState")
def causal_conv_with_state(node: Node) -> Results:
    x, w, bias, past = node[0], node[1], node.get(2), node.get(3)
    kept = w.shape[-1] - 1
    if past is None:
        past = node.zeros((*x.shape[:2], kept), x)
    whole = node.emit("Concat", past, x, axis=2) if kept else x
    plain = Window((w.shape[-1],), (1,), (1,), (0,), (0,))
    y = convolve(node, whole, w, bias, plain, x.shape[1])
    if node.text("activation", "none") in ("silu", "swish"):
        y = node.emit("Silu", y)
    length = whole.shape[2]
    return y, sliced(whole, 2, length - kept, length)
