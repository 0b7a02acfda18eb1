"""Shapes: reshaping, cutting, joining, padding, and constants that fill a shape."""

import math
from collections.abc import Sequence

import numpy as np
from tests.conformance.onnx.importer import Node, Results, UnsupportedError, axis_of, onnx_op
from tests.conformance.onnx.rules.reduce import axes_of

from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType


@onnx_op("Reshape")
def reshape(node: Node) -> Results:
    x = node[0]
    wanted = node.known_ints(1) if node.get(1) is not None else node.integers("shape")
    if not node.integer("allowzero", 0):
        wanted = tuple(x.shape[i] if n == 0 else n for i, n in enumerate(wanted))
    if -1 in wanted:
        rest = math.prod(n for n in wanted if n != -1)
        wanted = tuple(x.type.elements // rest if n == -1 else n for n in wanted)
    return x.reshape(*wanted)


@onnx_op("Flatten")
def flatten(node: Node) -> Results:
    x, axis = node[0], axis_of(node.integer("axis", 1), len(node[0].shape))
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@onnx_op("Transpose")
def transpose(node: Node) -> Results:
    return node[0].permute(*node.integers("perm", range(len(node[0].shape))[::-1]))


@onnx_op("Squeeze")
def squeeze(node: Node) -> Results:
    x, axes = node[0], axes_of(node)
    if axes is None:
        axes = tuple(axis for axis, n in enumerate(x.shape) if n == 1)
    gone = {axis_of(axis, len(x.shape)) for axis in axes}
    return x.reshape(*(n for axis, n in enumerate(x.shape) if axis not in gone))


@onnx_op("Unsqueeze")
def unsqueeze(node: Node) -> Results:
    axes = axes_of(node) or ()
    rank = len(node[0].shape) + len(axes)
    return node.emit("Unsqueeze", node[0], axes=tuple(sorted(axis_of(a, rank) for a in axes)))


@onnx_op("Expand")
def expand(node: Node) -> Results:
    return node[0].expand(*np.broadcast_shapes(node[0].shape, node.known_ints(1)))


@onnx_op("Tile")
def tile(node: Node) -> Results:
    return tiled(node, node[0], node.known_ints(1))


def tiled(node: Node, x: Symbol, repeats: Sequence[int]) -> Symbol:
    """Copies of a tensor beside each other along every axis."""
    pairs = list(zip(repeats, x.shape, strict=True))
    apart = x.reshape(*(n for _, size in pairs for n in (1, size)))
    copies = apart.expand(*(n for pair in pairs for n in pair))
    return copies.reshape(*(count * size for count, size in pairs))


@onnx_op("Concat")
def concat(node: Node) -> Results:
    axis = axis_of(node.integer("axis", 1), len(node[0].shape))
    return node.emit("Concat", *node.inputs, axis=axis)


@onnx_op("Split")
def split(node: Node) -> Results:
    x = node[0]
    axis = axis_of(node.integer("axis", 0), len(x.shape))
    if node.get(1) is not None:
        sizes = node.known_ints(1)
    elif node.has("split"):
        sizes = node.integers("split")
    else:
        count = node.integer("num_outputs", len(node.raw.outputs))
        each = -(-x.shape[axis] // count)
        sizes = tuple(min(each, x.shape[axis] - i * each) for i in range(count))
    return node.all("Split", x, axis=axis, sizes=sizes)


@onnx_op("Slice")
def slice_(node: Node) -> Results:
    x, rank = node[0], len(node[0].shape)
    if node.version < 10:
        starts, ends = node.integers("starts"), node.integers("ends")
        axes, steps = node.integers("axes", range(len(starts))), [1] * len(starts)
    else:
        starts, ends = node.known_ints(1), node.known_ints(2)
        axes = node.known_ints(3) if node.get(3) is not None else range(len(starts))
        steps = node.known_ints(4) if node.get(4) is not None else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        x = sliced(x, axis_of(axis, rank), start, end, step)
    return x


def sliced(x: Symbol, axis: int, start: int, end: int, step: int = 1) -> Symbol:
    """NumPy's slice of one axis."""
    size = x.shape[axis]
    first, last, _ = slice(start, end, step).indices(size)
    if step < 0:
        x, first, last, step = (
            x.emit("Flip", axes=(axis,)),
            size - 1 - first,
            size - 1 - last,
            -step,
        )
    return x.emit("Slice", axis=axis, start=first, stop=max(first, last), step=step)


@onnx_op("Pad")
def pad(node: Node) -> Results:
    x, rank = node[0], len(node[0].shape)
    pads = node.known_ints(1) if node.get(1) is not None else node.integers("pads")
    axes = node.known_ints(3) if node.get(3) is not None else range(rank)
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis], after[axis] = pads[place], pads[place + len(pads) // 2]
    for axis in range(rank):  # a negative pad cuts
        cut = (max(0, -before[axis]), x.shape[axis] - max(0, -after[axis]))
        x = sliced(x, axis, *cut) if cut != (0, x.shape[axis]) else x
    ends = {
        "before": tuple(max(0, n) for n in before),
        "after": tuple(max(0, n) for n in after),
    }
    mode = node.text("mode", "constant")
    if mode == "constant":
        value = float(node.known(2).reshape(())) if node.get(2) is not None else 0.0
        return node.emit("Pad", x, **ends, value=value)
    names = {"edge": "replicate", "wrap": "circular", "reflect": "reflect"}
    return node.emit("PadMode", x, **ends, mode=names[mode])


@onnx_op("CenterCropPad")
def center_crop_pad(node: Node) -> Results:
    x, wanted = node[0], node.known_ints(1)
    axes = node.integers("axes", range(len(x.shape)))
    for axis, size in zip((axis_of(a, len(x.shape)) for a in axes), wanted, strict=True):
        spare = size - x.shape[axis]
        if spare < 0:
            start = -spare // 2
            x = sliced(x, axis, start, start + size)
        elif spare:
            before, after = ([0] * len(x.shape) for _ in range(2))
            before[axis], after[axis] = spare // 2, spare - spare // 2
            x = node.emit("Pad", x, before=tuple(before), after=tuple(after))
    return x


@onnx_op("DepthToSpace")
def depth_to_space(node: Node) -> Results:
    x, block = node[0], node.integer("blocksize")
    n, c, h, w = x.shape
    rest = c // block**2
    if node.text("mode", "DCR") == "DCR":
        parts = x.reshape(n, block, block, rest, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, rest, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, rest, h * block, w * block)


@onnx_op("SpaceToDepth")
def space_to_depth(node: Node) -> Results:
    x, block = node[0], node.integer("blocksize")
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // block, block, w // block, block)
    order = (0, 3, 5, 1, 2, 4) if node.text("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return parts.permute(*order).reshape(n, c * block**2, h // block, w // block)


@onnx_op("ConstantOfShape")
def constant_of_shape(node: Node) -> Results:
    shape = node.known_ints(0)
    if not node.has("value"):
        return node.emit("Full", shape=shape, value=0.0, dtype=DType.float32)
    return node.importer.constant(node.attribute("value")).reshape().expand(*shape)


@onnx_op("EyeLike")
def eye_like(node: Node) -> Results:
    rows, columns = node[0].shape
    dtype = node.dtype("dtype") if node.has("dtype") else node[0].dtype
    row = node.arange(rows).reshape(rows, 1) + node.integer("k", 0)
    return row.equal(node.arange(columns)).cast(dtype)


@onnx_op("Range")
def range_(node: Node) -> Results:
    start, limit, step = (float(node.known(index).reshape(())) for index in range(3))
    count = max(0, math.ceil((limit - start) / step))
    return node.emit("Arange", start=start, step=step, count=count, dtype=node[0].dtype)


@onnx_op("Trilu")
def trilu(node: Node) -> Results:
    diagonal = node.known_ints(1)[0] if node.get(1) is not None else 0
    name = "Triu" if node.integer("upper", 1) else "Tril"
    return node.emit(name, node[0], diagonal=diagonal)


@onnx_op("Col2Im")
def column_to_image(node: Node) -> Results:
    x, size, kernel = node[0], node.known_ints(1), node.known_ints(2)
    rank = len(size)
    steps, dilation = node.integers("strides", [1] * rank), node.integers("dilations", [1] * rank)
    pads = node.integers("pads", [0] * 2 * rank)
    grown = [n + pads[i] + pads[i + rank] for i, n in enumerate(size)]
    counts = [
        (n - d * (k - 1) - 1) // s + 1
        for n, d, k, s in zip(grown, dilation, kernel, steps, strict=True)
    ]
    places = np.zeros((*kernel, *counts), np.int64)
    for axis in range(rank):
        tap = np.arange(kernel[axis]) * dilation[axis]
        block = np.arange(counts[axis]) * steps[axis]
        shape = [1] * 2 * rank
        shape[axis], shape[axis + rank] = kernel[axis], counts[axis]
        places = places * grown[axis] + np.add.outer(tap, block).reshape(shape)
    batch, channels = x.shape[0], x.shape[1] // math.prod(kernel)
    columns = x.reshape(batch, channels, places.size)
    indices = node.constant(places.reshape(-1), DType.int64).expand(*columns.shape)
    base = node.zeros((batch, channels, math.prod(grown)), x)
    image = node.emit("ScatterAdd", base, indices, columns, axis=2)
    image = image.reshape(batch, channels, *grown)
    for axis in range(rank):
        image = sliced(image, axis + 2, pads[axis], pads[axis] + size[axis])
    return image


@onnx_op("SequenceEmpty", "SequenceInsert", "SequenceMap", "SplitToSequence", "SequenceLength")
def sequence(node: Node) -> Results:
    raise UnsupportedError("sequences")


@onnx_op("OptionalHasElement", "OptionalGetElement")
def optional(node: Node) -> Results:
    raise UnsupportedError("optional values")


@onnx_op("Bernoulli", "RandomUniformLike")
def random(node: Node) -> Results:
    raise UnsupportedError("random numbers of another generator")
