"""Convolutions, pools and resampling."""

import math
from collections.abc import Sequence

import numpy as np

from bcai.bridge.guest.export.site import Family, Site
from bcai.bridge.guest.export.types import UnsupportedError
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType

rule = Family()
Ints = Sequence[int] | int
Scales = Sequence[float | None] | None


def spread(value: Ints, rank: int) -> tuple[int, ...]:
    """One entry per spatial axis."""
    entries = [value] if isinstance(value, int) else list(value)
    return tuple(entries * rank if len(entries) == 1 else entries)


def batched(x: Symbol, rank: int) -> Symbol:
    """`[c, *sizes]` as a batch of one."""
    return x if len(x.shape) == rank + 2 else x.reshape(1, *x.shape)


@rule("conv1d", "conv2d", "conv3d")
def _(
    at: Site,
    x: Symbol,
    weight: Symbol,
    bias: Symbol | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Symbol:
    around = spread(padding, len(weight.shape) - 2)
    return convolve(at, x, weight, bias, stride, (around, around), dilation, groups)


@rule("conv1d.padding", "conv2d.padding", "conv3d.padding")
def _(
    at: Site,
    x: Symbol,
    weight: Symbol,
    bias: Symbol | None = None,
    stride: Ints = 1,
    padding: str = "valid",
    dilation: Ints = 1,
    groups: int = 1,
) -> Symbol:
    rank = len(weight.shape) - 2
    total = [0] * rank
    if padding == "same":
        steps = spread(dilation, rank)
        total = [d * (k - 1) for d, k in zip(steps, weight.shape[2:], strict=True)]
    before = tuple(each // 2 for each in total)
    after = tuple(each - each // 2 for each in total)
    return convolve(at, x, weight, bias, stride, (before, after), dilation, groups)


def convolve(
    at: Site,
    x: Symbol,
    weight: Symbol,
    bias: Symbol | None,
    stride: Ints,
    padding: tuple[tuple[int, ...], tuple[int, ...]],
    dilation: Ints,
    groups: int,
) -> Symbol:
    """Cross-correlation with padding (before, after)."""
    rank = len(weight.shape) - 2
    y = at.emit(
        "Conv",
        batched(x, rank),
        weight,
        bias,
        stride=spread(stride, rank),
        padding_before=padding[0],
        padding_after=padding[1],
        dilation=spread(dilation, rank),
        groups=groups,
    )
    return y.reshape(*at.out.shape)


@rule("conv_transpose1d", "conv_transpose2d.input", "conv_transpose3d.input")
def _(
    at: Site,
    x: Symbol,
    weight: Symbol,
    bias: Symbol | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Symbol:
    return transposed(at, x, weight, bias, stride, padding, output_padding, dilation, groups)


def transposed(
    at: Site,
    x: Symbol,
    weight: Symbol,
    bias: Symbol | None,
    stride: Ints,
    padding: Ints,
    output_padding: Ints,
    dilation: Ints,
    groups: int,
) -> Symbol:
    """Transposed convolution."""
    rank = len(weight.shape) - 2
    y = at.emit(
        "ConvTranspose",
        batched(x, rank),
        weight,
        bias,
        stride=spread(stride, rank),
        padding=spread(padding, rank),
        output_padding=spread(output_padding, rank),
        dilation=spread(dilation, rank),
        groups=groups,
    )
    return y.reshape(*at.out.shape)


@rule("convolution")
def _(
    at: Site,
    x: Symbol,
    weight: Symbol,
    bias: Symbol | None,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    is_transposed: bool,
    output_padding: Ints,
    groups: int,
) -> Symbol:
    if is_transposed:
        return transposed(at, x, weight, bias, stride, padding, output_padding, dilation, groups)
    around = spread(padding, len(weight.shape) - 2)
    return convolve(at, x, weight, bias, stride, (around, around), dilation, groups)


@rule("max_pool1d", "max_pool2d", "max_pool3d")
def _(
    at: Site,
    x: Symbol,
    kernel: Ints,
    stride: Ints = (),
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil: bool = False,
) -> Symbol:
    return max_pool(at, x, kernel, stride, padding, dilation, ceil)[0]


@rule("max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices")
def _(
    at: Site,
    x: Symbol,
    kernel: Ints,
    stride: Ints = (),
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil: bool = False,
) -> list[Symbol]:
    return max_pool(at, x, kernel, stride, padding, dilation, ceil)


def rank_of(at: Site) -> int:
    """How many spatial axes a pool's name says."""
    return int(str(at.node.target).split("pool")[1][0])


def max_pool(
    at: Site, x: Symbol, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil: bool
) -> list[Symbol]:
    """Largest elements and their places."""
    rank = rank_of(at)
    around = spread(padding, rank)
    if not x.type.elements:
        raise UnsupportedError("a pool of nothing")
    both = at.all(
        "MaxPool",
        batched(x, rank),
        kernel=spread(kernel, rank),
        stride=spread(stride or kernel, rank),
        padding_before=around,
        padding_after=around,
        dilation=spread(dilation, rank),
        ceil=ceil,
    )
    return [each.reshape(*at.out.shape) for each in both]


@rule("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _(
    at: Site,
    x: Symbol,
    kernel: Ints,
    stride: Ints = (),
    padding: Ints = 0,
    ceil: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Symbol:
    rank = rank_of(at)
    around, sizes = spread(padding, rank), spread(kernel, rank)
    y = at.emit(
        "AvgPool",
        batched(x, rank),
        kernel=sizes,
        stride=spread(stride or kernel, rank),
        padding_before=around,
        padding_after=around,
        ceil=ceil,
        count_include_pad=count_include_pad,
    )
    if divisor is not None:
        if ceil or not count_include_pad:
            raise UnsupportedError("a divisor with windows of different sizes")
        y = y * (math.prod(sizes) / divisor)
    return y.reshape(*at.out.shape)


@rule(
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
    *("_adaptive_avg_pool2d", "_adaptive_avg_pool3d"),
)
def _(at: Site, x: Symbol, output: Ints) -> Symbol:
    del output
    rank = rank_of(at)
    sizes = at.out.shape[-rank:]
    y = at.emit("AdaptiveAvgPool", batched(x, rank), output=sizes)
    return y.reshape(*at.out.shape)


@rule("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def _(at: Site, x: Symbol, output: Ints) -> list[Symbol | None]:
    del output
    rank = rank_of(at)
    sizes, wanted = x.shape[-rank:], at.out.shape[-rank:]
    if any(size % count for size, count in zip(sizes, wanted, strict=True)):
        raise UnsupportedError("adaptive windows of different sizes")
    kernel = tuple(size // count for size, count in zip(sizes, wanted, strict=True))
    return [*max_pool(at, x, kernel, kernel, 0, 1, False)]


@rule("upsample_nearest1d.vec", "upsample_nearest2d.vec", "upsample_nearest3d.vec")
def _(at: Site, x: Symbol, sizes: object, scales: Scales = None) -> Symbol:
    del sizes
    return nearest(at, x, at.out.shape[2:], scales, 0.0)


@rule("_upsample_nearest_exact2d.vec", "_upsample_nearest_exact1d.vec")
def _(at: Site, x: Symbol, sizes: object, scales: Scales = None) -> Symbol:
    del sizes
    return nearest(at, x, at.out.shape[2:], scales, 0.5)


def nearest(at: Site, x: Symbol, sizes: Sequence[int], scales: Scales, shift: float) -> Symbol:
    """Each output reads the input place `floor((i + shift) / scale)`."""
    for index, wanted in enumerate(sizes):
        axis = index + 2
        size = x.shape[axis]
        ratio = _ratio(size, wanted, scales[index] if scales else None)
        taken = np.floor((np.arange(wanted, dtype=np.float32) + np.float32(shift)) * ratio)
        taken = np.minimum(taken.astype(np.int64), size - 1)
        if wanted != size or (taken != np.arange(size)).any():
            x = at.emit("Gather", x, at.constant(taken), axis=axis)
    return x


def _ratio(size: int, wanted: int, scale: float | None) -> np.float32:
    return np.float32(1 / scale) if scale else np.float32(size / wanted)


@rule("upsample_linear1d.vec", "upsample_bilinear2d.vec", "upsample_trilinear3d.vec")
def _(at: Site, x: Symbol, sizes: object, align: bool, scales: Scales = None) -> Symbol:
    del sizes
    return linear(at, x, at.out.shape[2:], align, scales)


def linear(at: Site, x: Symbol, sizes: Sequence[int], align: bool, scales: Scales) -> Symbol:
    """Each output mixes the two input places beside it, axis by axis."""
    for index, wanted in enumerate(sizes):
        axis = index + 2
        size = x.shape[axis]
        scale = scales[index] if scales else None
        weights = _linear_weights(size, wanted, align, scale)
        x = _mix(at, x, axis, weights)
    return x


def _linear_weights(
    size: int, wanted: int, align: bool, scale: float | None
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """How much of each input place goes into each output: `float64[size, wanted]`."""
    if align:
        place = np.arange(wanted) * ((size - 1) / (wanted - 1) if wanted > 1 else 0.0)
    else:
        ratio = 1 / scale if scale else size / wanted
        place = np.maximum((np.arange(wanted) + 0.5) * ratio - 0.5, 0)
    low = np.minimum(place.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    share = place - low
    weights = np.zeros((size, wanted))
    np.add.at(weights, (low, np.arange(wanted)), 1 - share)
    np.add.at(weights, (high, np.arange(wanted)), share)
    return weights


def _mix(
    at: Site,
    x: Symbol,
    axis: int,
    weights: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> Symbol:
    """Contract an axis with a matrix that is known now."""
    matrix = at.constant(weights.astype((x.dtype if x.dtype.is_float else DType.float32).numpy))
    last = len(x.shape) - 1
    order = [*(each for each in range(last + 1) if each != axis), axis]
    mixed = x.permute(*order) @ matrix
    return mixed.permute(*(order.index(each) for each in range(last + 1)))


@rule("im2col")
def _(
    at: Site,
    x: Symbol,
    kernel: Ints,
    dilation: Ints,
    padding: Ints,
    stride: Ints,
) -> Symbol:
    planes = batched(x, 2)
    rank = 2
    sizes, steps, around, strides = (
        spread(each, rank) for each in (kernel, dilation, padding, stride)
    )
    padded = at.emit("Pad", planes, before=(0, 0, *around), after=(0, 0, *around), value=0.0)
    taps: list[np.ndarray[tuple[int, int], np.dtype[np.int64]]] = []
    for axis in range(rank):
        room = padded.shape[2 + axis] - steps[axis] * (sizes[axis] - 1) - 1
        out = np.arange(room // strides[axis] + 1) * strides[axis]
        taps.append((np.arange(sizes[axis]) * steps[axis])[:, None] + out)
    width = padded.shape[3]
    places = taps[0][:, None, :, None] * width + taps[1][None, :, None, :]
    flat = padded.reshape(*padded.shape[:2], padded.shape[2] * width)
    return flat.emit("Gather", at.constant(places), axis=2).reshape(*at.out.shape)


@rule("affine_grid_generator")
def _(at: Site, theta: Symbol, size: Sequence[int], align: bool) -> Symbol:
    axes: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
    for count in reversed(list(size)[2:]):
        line = np.linspace(-1, 1, count) if count > 1 else np.zeros(1)
        axes.append(line if align else line * (count - 1) / count)
    grids = np.meshgrid(*reversed(axes), indexing="ij")
    base = np.stack([*reversed(grids), np.ones_like(grids[0])], -1)
    flat = at.constant(base.reshape(-1, base.shape[-1]).astype(theta.dtype.numpy))
    return (flat @ theta.transpose()).reshape(*at.out.shape)
