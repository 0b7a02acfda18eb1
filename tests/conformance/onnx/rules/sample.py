"""Interpolation at places that the data gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from tests.conformance.onnx.importer import Node, Results, onnx_op

from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType

MODES = {"bilinear": "linear", "bicubic": "cubic"}
"""Names before opset 20."""


@dataclass(frozen=True, slots=True)
class Tap:
    """One neighbour along one axis: its place, its weight, and whether it is there at all."""

    place: Symbol
    weight: Symbol | None
    inside: Symbol | None


@onnx_op("GridSample")
def grid_sample(node: Node) -> Results:
    x, grid = node[0], node[1]
    size, rank = x.shape[2:], len(x.shape) - 2
    corners = bool(node.integer("align_corners", 0))
    axes: list[list[Tap]] = []
    for axis, n in enumerate(size):
        place = grid.emit("Select", axis=rank + 1, index=rank - 1 - axis)
        if corners:
            place = (place + 1.0) / 2.0 * float(n - 1)
        else:
            place = ((place + 1.0) * float(n) - 1.0) / 2.0
        axes.append(_taps(node, place, n, corners=corners))
    return interpolated(node, x, axes)


def interpolated(node: Node, x: Symbol, axes: Sequence[Sequence[Tap]]) -> Symbol:
    """Sum over all combinations of taps: `x[n, c, *size]` to `[n, c, *places]`."""
    rank = len(axes)
    last = x.permute(0, *range(2, rank + 2), 1)
    places = axes[0][0].place.shape
    batch = node.arange(x.shape[0]).reshape(x.shape[0], *[1] * (len(places) - 1))
    total = None
    for taps in product(*axes):
        value = node.emit("Index", last, batch, *(tap.place for tap in taps))
        for tap in taps:
            if tap.weight is not None:
                value = value * tap.weight.reshape(*places, 1)
            if tap.inside is not None:
                inside = tap.inside.reshape(*places, 1).expand(*value.shape)
                value = node.where(inside, value, 0.0)
        total = value if total is None else total + value
    assert total is not None
    return total.permute(0, len(places), *range(1, len(places)))


def _taps(node: Node, place: Symbol, n: int, *, corners: bool) -> list[Tap]:
    mode, padding = node.text("mode", "linear"), node.text("padding_mode", "zeros")
    mode = MODES.get(mode, mode)
    if mode == "nearest":
        place = node.emit("Round", place)
    if padding == "border":
        place = node.emit("Clamp", place, min=0.0, max=float(n - 1))
    elif padding == "reflection":
        place = _reflected(node, place, n, corners=corners)
    if mode == "nearest":
        return [_tap(node, place, None, n, corners=corners)]
    first = node.emit("Floor", place)
    weights = cubic_weights(place - first) if mode == "cubic" else linear_weights(place - first)
    start = -1.0 if mode == "cubic" else 0.0
    return [
        _tap(node, first + (start + shift), weight, n, corners=corners)
        for shift, weight in enumerate(weights)
    ]


def _tap(node: Node, place: Symbol, weight: Symbol | None, n: int, *, corners: bool) -> Tap:
    inside = None
    match node.text("padding_mode", "zeros"):
        case "zeros":
            inside = (place >= 0.0) & (place <= float(n - 1))
        case "reflection":
            place = _reflected(node, place, n, corners=corners)
        case _:
            pass
    kept = node.emit("Clamp", place, min=0.0, max=float(n - 1))
    return Tap(kept.cast(DType.int64), weight, inside)


def _reflected(node: Node, place: Symbol, n: int, *, corners: bool) -> Symbol:
    """Thrown back at the borders until it lies between them."""
    low, span = (0.0, float(n - 1)) if corners else (-0.5, float(n))
    turn = node.emit("Mod", place - low, 2.0 * span)
    return node.emit("Min", turn, 2.0 * span - turn) + low


def linear_weights(ratio: Symbol) -> list[Symbol]:
    """Weights of the two neighbours."""
    return [1.0 - ratio, ratio]


def cubic_weights(ratio: Symbol, a: float = -0.75) -> list[Symbol]:
    """Weights of the four neighbours. Source: Keys, doi:10.1109/TASSP.1981.1163711."""

    def near(x: Symbol) -> Symbol:
        return (x * (a + 2) - (a + 3)) * x * x + 1.0

    def far(x: Symbol) -> Symbol:
        return ((x * a - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(ratio + 1.0), near(ratio), near(1.0 - ratio), far(2.0 - ratio)]


@onnx_op("DeformConv")
def deformable_conv(node: Node) -> Results:
    """Sample every tap of every window where the offset says, then multiply matrices."""
    x, w, offset, bias, mask = node[0], node[1], node[2], node.get(3), node.get(4)
    kernel, rank = w.shape[2:], len(w.shape) - 2
    if rank != 2:
        raise NotImplementedError("a deformable convolution that is not flat")
    taps, outs = kernel[0] * kernel[1], offset.shape[2:]
    stride, dilation = node.integers("strides", [1, 1]), node.integers("dilations", [1, 1])
    pads = node.integers("pads", [0] * 4)
    shares, groups = node.integer("offset_group", 1), node.integer("group", 1)
    moves = offset.reshape(x.shape[0], shares, *kernel, 2, *outs)
    parts: list[Symbol] = []
    for share in range(shares):
        own = moves.emit("Select", axis=1, index=share)
        axes: list[list[Tap]] = []
        for axis in range(2):
            shape = [1] * 5
            shape[1 + axis] = kernel[axis]
            tap = node.arange(kernel[axis], x.dtype).reshape(*shape) * float(dilation[axis])
            shape = [1] * 5
            shape[3 + axis] = outs[axis]
            out = node.arange(outs[axis], x.dtype).reshape(*shape) * float(stride[axis])
            place = own.emit("Select", axis=3, index=axis) + (tap + out - float(pads[axis]))
            axes.append(_linear_taps(node, place, x.shape[2 + axis]))
        size = x.shape[1] // shares
        cut = x.emit("Slice", axis=1, start=share * size, stop=(share + 1) * size)
        sampled = interpolated(node, cut, axes)
        if mask is not None:
            every = mask.reshape(x.shape[0], shares, *kernel, *outs)
            sampled = sampled * every.emit("Slice", axis=1, start=share, stop=share + 1)
        parts.append(sampled)
    columns = node.emit("Concat", *parts, axis=1)
    flat = columns.reshape(x.shape[0], groups, w.shape[1] * taps, outs[0] * outs[1])
    rows = w.reshape(groups, w.shape[0] // groups, w.shape[1] * taps)
    y = (rows @ flat).reshape(x.shape[0], w.shape[0], *outs)
    return y if bias is None else y + bias.reshape(w.shape[0], 1, 1)


def _linear_taps(node: Node, place: Symbol, n: int) -> list[Tap]:
    """Two neighbours, zero outside."""
    first = node.emit("Floor", place)
    taps: list[Tap] = []
    for shift, weight in enumerate(linear_weights(place - first)):
        at = first + float(shift)
        inside = (at >= 0.0) & (at <= float(n - 1))
        kept = node.emit("Clamp", at, min=0.0, max=float(n - 1)).cast(DType.int64)
        taps.append(Tap(kept, weight, inside))
    return taps
