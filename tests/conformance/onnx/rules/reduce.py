"""Reductions, running sums, orders, and what normalises along an axis by them."""

import math
from typing import Any

from tests.conformance.onnx.importer import Node, Results, UnsupportedError, axis_of, onnx_op

from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType


def axes_of(node: Node, index: int = 1) -> tuple[int, ...] | None:
    """Axes given as an attribute or as an input; None where they are not given."""
    if node.get(index) is not None:
        return node.known_ints(index)
    return node.integers("axes") if node.has("axes") else None


@onnx_op(
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"),
    *("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
)
def reduce(node: Node) -> Results:
    x, axes = node[0], axes_of(node)
    prepared = _prepared(node.raw.op, x)
    if not axes:
        if node.integer("noop_with_empty_axes", 0):
            return _finished(node, prepared)
        axes = tuple(range(len(x.shape)))
    over: dict[str, Any] = {
        "axes": tuple(axis_of(each, len(x.shape)) for each in axes),
        "keepdims": bool(node.integer("keepdims", 1)),
    }
    match node.raw.op:
        case "ReduceMax" | "ReduceMin":
            return _extreme(node, x, over)
        case "ReduceMean":
            return node.emit("Mean", x, **over)
        case "ReduceProd":
            return node.emit("Prod", x, **over)
        case "ReduceL1" | "ReduceL2" if x.dtype.is_float:
            return node.emit("Norm", x, order=float(node.raw.op[-1]), **over)
        case "ReduceLogSumExp":
            if not x.type.elements:
                return node.emit("Log", node.emit("Sum", x, **over))
            return node.emit("LogSumExp", x, **over)
        case _:
            return _finished(node, node.emit("Sum", prepared, **over))


def _prepared(name: str, x: Symbol) -> Symbol:
    if name == "ReduceL1":
        return abs(x)
    return x * x if name in ("ReduceL2", "ReduceSumSquare") else x


def _finished(node: Node, total: Symbol) -> Symbol:
    if node.raw.op == "ReduceL2":
        return node.emit("Sqrt", total)
    return node.emit("Log", total) if node.raw.op == "ReduceLogSum" else total


def _extreme(node: Node, x: Symbol, over: dict[str, Any]) -> Symbol:
    """Of nothing: the least (greatest) value of the element type."""
    if x.type.elements:
        return node.emit(node.raw.op, x, **over)
    kept = [1 if axis in over["axes"] else n for axis, n in enumerate(x.shape)]
    shape = (
        kept
        if over["keepdims"]
        else [n for axis, n in enumerate(x.shape) if axis not in over["axes"]]
    )
    if x.dtype is DType.bool:
        return node.zeros(shape, x, float(node.raw.op == "ReduceMin"))
    return node.zeros(shape, x, -math.inf if node.raw.op == "ReduceMax" else math.inf)


@onnx_op("ArgMax", "ArgMin")
def arg_extreme(node: Node) -> Results:
    x = node[0]
    axis = axis_of(node.integer("axis", 0), len(x.shape))
    keepdims = bool(node.integer("keepdims", 1))
    if not node.integer("select_last_index", 0):
        return node.emit(node.raw.op, x, axis=axis, keepdims=keepdims)
    last = node.emit(node.raw.op, node.emit("Flip", x, axes=(axis,)), axis=axis, keepdims=keepdims)
    return (x.shape[axis] - 1) - last


@onnx_op("CumSum", "CumProd")
def running(node: Node) -> Results:
    (axis,) = node.known_ints(1)
    exclusive, reverse = (bool(node.integer(name, 0)) for name in ("exclusive", "reverse"))
    axis = axis_of(axis, len(node[0].shape))
    return node.emit(node.raw.op, node[0], axis=axis, exclusive=exclusive, reverse=reverse)


@onnx_op("TopK")
def top_k(node: Node) -> Results:
    (k,) = node.known_ints(1)
    axis = axis_of(node.integer("axis", -1), len(node[0].shape))
    return node.all("TopK", node[0], k=k, axis=axis, largest=bool(node.integer("largest", 1)))


@onnx_op("Softmax", "LogSoftmax", "Hardmax")
def softmax(node: Node) -> Results:
    x = node[0]
    if node.version < 13:
        axis = axis_of(node.integer("axis", 1), len(x.shape))
        rows = math.prod(x.shape[:axis])
        flat = x.reshape(rows, math.prod(x.shape[axis:]))
        return _softmax(node, flat, 1).reshape(*x.shape)
    return _softmax(node, x, axis_of(node.integer("axis", -1), len(x.shape)))


def _softmax(node: Node, x: Symbol, axis: int) -> Symbol:
    if node.raw.op != "Hardmax":
        return node.emit(node.raw.op, x, axis=axis)
    hot = node.emit("OneHot", node.emit("ArgMax", x, axis=axis), depth=x.shape[axis], dtype=x.dtype)
    last = len(x.shape) - 1
    return hot.permute(
        *(axis_ - (axis_ > axis) if axis_ != axis else last for axis_ in range(last + 1))
    )


@onnx_op("LpNormalization")
def lp_normalization(node: Node) -> Results:
    x = node[0]
    over: dict[str, Any] = {
        "axes": (axis_of(node.integer("axis", -1), len(x.shape)),),
        "keepdims": True,
    }
    if node.integer("p", 2) == 1:
        norm = node.emit("Sum", abs(x), **over)
    else:
        norm = node.emit("Sqrt", node.emit("Sum", x * x, **over))
    nothing = norm.equal(0.0)
    return node.where(nothing, 0.0, x / node.where(nothing, 1.0, norm))


@onnx_op("MeanVarianceNormalization")
def mean_variance_normalization(node: Node) -> Results:
    x, axes = node[0], node.integers("axes", (0, 2, 3))
    mean = node.emit("Mean", x, axes=axes, keepdims=True)
    variance = node.emit("Variance", x, axes=axes, keepdims=True)
    return (x - mean) / (node.emit("Sqrt", variance) + 1e-9)


@onnx_op("LRN")
def local_response_normalization(node: Node) -> Results:
    x, size = node[0], node.integer("size")
    before, after = (size - 1) // 2, size // 2
    rank = len(x.shape)
    ends = [tuple(n if axis == 1 else 0 for axis in range(rank)) for n in (before, after)]
    padded = node.emit("Pad", x * x, before=ends[0], after=ends[1])
    total = None
    for shift in range(size):
        part = node.emit("Slice", padded, axis=1, start=shift, stop=shift + x.shape[1], step=1)
        total = part if total is None else total + part
    assert total is not None
    grown = total * (node.number("alpha", 1e-4) / size) + node.number("bias", 1.0)
    return x / node.emit("Pow", grown, node.number("beta", 0.75))


@onnx_op("NonZero", "Unique", "NonMaxSuppression")
def of_unknown_shape(node: Node) -> Results:
    raise UnsupportedError("the shape of the result depends on the data")


@onnx_op("Size", "Shape")
def shape_of(node: Node) -> Results:
    shape = node[0].shape
    if node.raw.op == "Size":
        return node.constant(math.prod(shape), DType.int64)
    start, end = node.integer("start", 0), node.attribute("end", None)
    return node.constant(shape[start:] if end is None else shape[start:end], DType.int64)
