"""Resizing by constant matrices, one axis after the other."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from tests.conformance.onnx.importer import Node, Results, axis_of, onnx_op

from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, DType

Kernel = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one axis is resized: `size` places to `count` places at `scale`."""

    node: Node
    size: int
    count: int
    scale: float
    roi: tuple[float, float]

    def sources(self) -> Array:
        """The coordinate in the input of every place of the output."""
        place = np.arange(self.count, dtype=np.float64)
        whole = self.scale * self.size
        centred = (place + 0.5) / self.scale - 0.5
        match self.node.text("coordinate_transformation_mode", "half_pixel"):
            case "align_corners":
                return place * (self.size - 1) / (whole - 1) if whole != 1 else place * 0
            case "asymmetric":
                return place / self.scale
            case "pytorch_half_pixel":
                return centred if whole != 1 else place * 0 - 0.5
            case "half_pixel_symmetric":
                return centred + self.size / 2 * (1 - self.count / whole)
            case "tf_crop_and_resize":
                start, end = self.roi
                if whole == 1:
                    return place * 0 + (end - start) * (self.size - 1) / 2
                step = (end - start) * (self.size - 1) / (whole - 1)
                return place * step + start * (self.size - 1)
            case _:
                return centred

    def matrix(self) -> Array:
        """Rows: places of the output; columns: of the input."""
        if self.node.text("mode", "nearest") == "nearest":
            return np.eye(self.size)[np.clip(self._nearest(), 0, self.size - 1)]
        kernel, reach = self._kernel()
        matrix = np.zeros((self.count, self.size))
        for row, source in enumerate(self.sources()):
            first = math.floor(float(source) - reach) + 1
            taps = list(range(first, math.ceil(float(source) + reach) + 1))
            weights = np.array([kernel(tap - float(source)) for tap in taps])
            inside = [0 <= tap < self.size for tap in taps]
            if self.node.integer("exclude_outside", 0):
                weights = np.where(inside, weights, 0)
            weights = weights / weights.sum()
            np.add.at(matrix[row], np.clip(taps, 0, self.size - 1), weights)
        return matrix

    def _nearest(self) -> Array:
        source = self.sources()
        match self.node.text("nearest_mode", "round_prefer_floor"):
            case "round_prefer_ceil":
                places = np.floor(source + 0.5)
            case "floor":
                places = np.floor(source)
            case "ceil":
                places = np.ceil(source)
            case _:
                places = np.ceil(source - 0.5)
        return places.astype(np.int64)

    def _kernel(self) -> tuple[Kernel, float]:
        """The weight of a tap by its distance, and how far it reaches."""
        shrink = min(self.scale, 1.0) if self.node.integer("antialias", 0) else 1.0
        if self.node.text("mode", "nearest") == "linear":
            return lambda far: max(0.0, 1 - abs(far * shrink)), 1 / shrink
        a = self.node.number("cubic_coeff_a", -0.75)

        def cubic(far: float) -> float:
            x = abs(far * shrink)
            if x <= 1:
                return (a + 2) * x**3 - (a + 3) * x**2 + 1
            return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

        return cubic, 2 / shrink


@onnx_op("Resize")
def resize(node: Node) -> Results:
    x = node[0]
    rank = len(x.shape)
    axes = [axis_of(axis, rank) for axis in node.integers("axes", range(rank))]
    scales, sizes = _scales(node, [x.shape[axis] for axis in axes])
    roi = [0.0] * len(axes) + [1.0] * len(axes)
    if node.get(1) is not None and node[1].type.elements:
        roi = [float(each) for each in node.known(1)]
    outside = None
    for number, axis in enumerate(axes):
        span = (roi[number], roi[number + len(axes)])
        sampling = Sampling(node, x.shape[axis], sizes[number], scales[number], span)
        if node.text("coordinate_transformation_mode", "") == "tf_crop_and_resize":
            beyond = sampling.sources()
            shape = [1] * rank
            shape[axis] = len(beyond)
            mask = node.constant((beyond < 0) | (beyond > x.shape[axis] - 1), DType.bool)
            mask = mask.reshape(*shape)
            outside = mask if outside is None else outside | mask
        elif scales[number] == 1.0 and sizes[number] == x.shape[axis]:
            continue
        x = along(node, x, axis, sampling.matrix())
    if outside is None:
        return x
    return node.where(outside, node.number("extrapolation_value", 0.0), x)


def _scales(node: Node, have: Sequence[int]) -> tuple[list[float], list[int]]:
    if node.get(2) is not None and node[2].type.elements:
        scales = [float(each) for each in node.known(2)]
        return scales, [int(np.float32(s) * n) for s, n in zip(scales, have, strict=True)]
    sizes = list(node.known_ints(3))
    scales = [size / n for size, n in zip(sizes, have, strict=True)]
    policy = node.text("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return scales, sizes
    scale = min(scales) if policy == "not_larger" else max(scales)
    return [scale] * len(have), [int(scale * n + 0.5) for n in have]


def along(node: Node, x: Symbol, axis: int, matrix: Array) -> Symbol:
    """The product with a matrix along one axis; a row of one weight is a mere pick."""
    picks = (matrix == 1).sum(1) == 1
    if picks.all():
        return node.emit("Gather", x, node.constant(matrix.argmax(1), DType.int64), axis=axis)
    order = [each for each in range(len(x.shape)) if each != axis] + [axis]
    back = [order.index(each) for each in range(len(x.shape))]
    return (x.permute(*order) @ node.constant(matrix.T, x)).permute(*back)


@onnx_op("Upsample")
def upsample(node: Node) -> Results:
    x = node[0]
    scales = node.known(1) if node.get(1) is not None else node.attribute("scales")
    for axis, scale in enumerate(scales):
        places = (np.arange(int(x.shape[axis] * scale)) / scale).astype(np.int64)
        x = node.emit("Gather", x, node.constant(places, DType.int64), axis=axis)
    return x


@onnx_op("AffineGrid")
def affine_grid(node: Node) -> Results:
    theta, size = node[0], node.known_ints(1)[2:]
    corners = bool(node.integer("align_corners", 0))
    lines = [np.linspace(-1, 1, n) if corners else (np.arange(n) * 2 + 1) / n - 1 for n in size]
    grids = np.meshgrid(*lines, indexing="ij")
    points = np.stack([*grids[::-1], np.ones(size)], axis=-1).reshape(-1, len(size) + 1)
    moved = node.constant(points, theta) @ theta.transpose()
    return moved.reshape(theta.shape[0], *size, len(size))
