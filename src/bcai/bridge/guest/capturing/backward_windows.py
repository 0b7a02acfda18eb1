"""Rules for the backward passes of convolutions, pools and resampling."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bcai.bridge.guest.capturing.pulling import first, only, pulled
from bcai.bridge.guest.export import conv
from bcai.bridge.guest.export.site import Family, Rule, Site
from bcai.bridge.guest.export.table import RULES as FORWARD
from bcai.bridge.guest.export.types import UnsupportedError
from bcai.vm.isa.symbol import Symbol

rule = Family()
Values = Sequence[int]


@rule("convolution")
def _(
    at: Site,
    x: Symbol,
    weight: Symbol,
    bias: Symbol | None,
    stride: Values,
    padding: Values,
    dilation: Values,
    transposed: bool,
    output_padding: Values,
    groups: int,
) -> Symbol:
    rank = len(weight.shape) - 2
    if transposed:
        return at.emit(
            "ConvTranspose",
            x,
            weight,
            bias,
            stride=conv.spread(stride, rank),
            padding=conv.spread(padding, rank),
            output_padding=conv.spread(output_padding, rank),
            dilation=conv.spread(dilation, rank),
            groups=groups,
        )
    around = conv.spread(padding, rank)
    return at.emit(
        "Conv",
        x,
        weight,
        bias,
        stride=conv.spread(stride, rank),
        padding_before=around,
        padding_after=around,
        dilation=conv.spread(dilation, rank),
        groups=groups,
    )


@rule("convolution_backward")
def _(
    at: Site,
    d: Symbol,
    x: Symbol,
    weight: Symbol,
    bias_sizes: Values | None,
    *rest: Any,
) -> list[Symbol | None]:
    *settings, mask = rest
    forward = rule.rules["aten.convolution.default"]
    found = pulled(at, lambda: first(forward(at, x, weight, None, *settings)), d, [x, weight])
    bias = None
    if mask[2]:
        axes = (0, *range(2, len(d.shape)))
        bias = at.emit("Sum", d, axes=axes, keepdims=False)
    del bias_sizes
    return [*(each if asked else None for each, asked in zip(found, mask, strict=False)), bias]


@rule("max_pool2d_with_indices_backward", "max_pool3d_with_indices_backward")
def _(
    at: Site,
    d: Symbol,
    x: Symbol,
    kernel: Values,
    stride: Values,
    padding: Values,
    dilation: Values,
    ceil: bool,
    places: Symbol,
) -> Symbol:
    del places
    rank = conv.rank_of(at)
    around = conv.spread(padding, rank)

    def write() -> Symbol:
        y = at.emit(
            "MaxPool",
            conv.batched(x, rank),
            kernel=conv.spread(kernel, rank),
            stride=conv.spread(stride or kernel, rank),
            padding_before=around,
            padding_after=around,
            dilation=conv.spread(dilation, rank),
            ceil=ceil,
        )
        return y.reshape(*d.shape)

    return only(pulled(at, write, d, [x]))


@rule("avg_pool2d_backward", "avg_pool3d_backward")
def _(
    at: Site,
    d: Symbol,
    x: Symbol,
    kernel: Values,
    stride: Values,
    padding: Values,
    ceil: bool,
    include_pad: bool,
    divisor: int | None,
) -> Symbol:
    rank = conv.rank_of(at)
    if divisor is not None:
        raise UnsupportedError("a divisor")
    around = conv.spread(padding, rank)

    def write() -> Symbol:
        y = at.emit(
            "AvgPool",
            conv.batched(x, rank),
            kernel=conv.spread(kernel, rank),
            stride=conv.spread(stride or kernel, rank),
            padding_before=around,
            padding_after=around,
            ceil=ceil,
            count_include_pad=include_pad,
        )
        return y.reshape(*d.shape)

    return only(pulled(at, write, d, [x]))


@rule("_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward")
def _(at: Site, d: Symbol, x: Symbol) -> Symbol:
    rank = conv.rank_of(at)

    def write() -> Symbol:
        y = at.emit("AdaptiveAvgPool", conv.batched(x, rank), output=d.shape[-rank:])
        return y.reshape(*d.shape)

    return only(pulled(at, write, d, [x]))


def _nearest(shift: float) -> Rule:
    def write(at: Site, d: Symbol, sizes: Values, of: Values, *scales: float | None) -> Symbol:
        x = at.full(tuple(of), 0, d.dtype)
        return only(pulled(at, lambda: conv.nearest(at, x, sizes, scales, shift), d, [x]))

    return write


for _axes in ("1d", "2d", "3d"):
    rule(f"upsample_nearest{_axes}_backward")(_nearest(0.0))
    rule(f"_upsample_nearest_exact{_axes}_backward")(_nearest(0.5))


@rule(
    *("upsample_linear1d_backward", "upsample_bilinear2d_backward"),
    "upsample_trilinear3d_backward",
)
def _(at: Site, d: Symbol, sizes: Values, of: Values, align: bool, *scales: float | None) -> Symbol:
    x = at.full(tuple(of), 0, d.dtype)
    return only(pulled(at, lambda: conv.linear(at, x, sizes, align, scales), d, [x]))


@rule("adaptive_max_pool2d_backward", "adaptive_max_pool3d_backward")
def _(at: Site, d: Symbol, x: Symbol, places: Symbol) -> Symbol:
    rank = conv.rank_of(at)
    rows = d.shape[:-rank]
    zeros = at.full((*rows, math.prod(x.shape[-rank:])), 0, d.dtype)
    count = math.prod(d.shape[-rank:])
    taken = (places.reshape(*rows, count), d.reshape(*rows, count))
    written = first(FORWARD["aten.scatter_add.default"](at, zeros, len(rows), *taken))
    return written.reshape(*x.shape)


@rule(*(f"replication_pad{axes}d_backward" for axes in (1, 2, 3)))
def _(at: Site, d: Symbol, x: Symbol, padding: Values) -> Symbol:
    def write() -> Symbol:
        y = x
        for place in range(len(padding) // 2):  # from the last axis on
            axis = len(x.shape) - 1 - place
            taken = np.arange(-padding[2 * place], x.shape[axis] + padding[2 * place + 1])
            inside = np.clip(taken, 0, x.shape[axis] - 1).astype(np.int64)
            y = at.emit("Gather", y, at.constant(inside), axis=axis)
        return y

    return only(pulled(at, write, d, [x]))
