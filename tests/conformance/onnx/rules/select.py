"""Gather, scatter, one-hot, and what picks elements by index."""

import math

import numpy as np
from tests.conformance.onnx.importer import Node, Results, UnsupportedError, axis_of, onnx_op

from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType

UPDATES_MAX = 256
"""Scattered updates that are combined one after the other, each with instructions of its own."""
COMBINE = {"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}


@onnx_op("Gather")
def gather(node: Node) -> Results:
    axis = axis_of(node.integer("axis", 0), len(node[0].shape))
    return node.emit("Gather", node[0], node[1], axis=axis)


@onnx_op("ArrayFeatureExtractor")
def array_feature_extractor(node: Node) -> Results:
    flat = node[1].reshape(node[1].type.elements)
    picked = node.emit("Gather", node[0], flat, axis=len(node[0].shape) - 1)
    return picked.reshape(1, picked.type.elements) if len(node[0].shape) == 1 else picked


@onnx_op("GatherElements")
def gather_elements(node: Node) -> Results:
    axis = axis_of(node.integer("axis", 0), len(node[0].shape))
    return node.emit("GatherElements", node[0], node[1], axis=axis)


@onnx_op("GatherND")
def gather_nd(node: Node) -> Results:
    batch = node.integer("batch_dims", 0)
    return node.emit("Index", node[0], *coordinates(node, node[0], node[1], batch))


def coordinates(node: Node, x: Symbol, indices: Symbol, batch: int = 0) -> list[Symbol]:
    """An index tensor for each leading axis, from tuples in the last axis of `indices`."""
    outer = indices.shape[:-1]
    result: list[Symbol] = []
    for axis in range(batch):
        shape = [1] * len(outer)
        shape[axis] = x.shape[axis]
        result.append(node.arange(x.shape[axis]).reshape(*shape))
    last = len(outer)
    result += [indices.emit("Select", axis=last, index=place) for place in range(indices.shape[-1])]
    return result


@onnx_op("ScatterND")
def scatter_nd(node: Node) -> Results:
    x, indices, updates = node[0], node[1], node[2]
    reduction = node.text("reduction", "none")
    places = coordinates(node, x, indices)
    if reduction in ("none", "add"):
        return node.emit("IndexPut", x, updates, *places, accumulate=reduction == "add")
    count = math.prod(indices.shape[:-1])
    if count > UPDATES_MAX:
        raise UnsupportedError(f"{count} updates with {reduction}")
    flat = [each.reshape(count) for each in places]
    rows = updates.reshape(count, *updates.shape[len(indices.shape) - 1 :])
    for number in range(count):
        place = [each[number] for each in flat]
        new = node.emit(COMBINE[reduction], node.emit("Index", x, *place), rows[number])
        x = node.emit("IndexPut", x, new, *place)
    return x


@onnx_op("Scatter", "ScatterElements")
def scatter_elements(node: Node) -> Results:
    x, indices, updates = node[0], node[1], node[2]
    axis = axis_of(node.integer("axis", 0), len(x.shape))
    reduction = node.text("reduction", "none")
    if reduction == "none":
        return node.emit("ScatterElements", x, indices, updates, axis=axis)
    if reduction == "add":
        return node.emit("ScatterAdd", x, indices, updates, axis=axis)
    for place in range(indices.shape[axis]):  # only different places along the axis can meet
        cut = {"axis": axis, "start": place, "stop": place + 1}
        at, update = node.emit("Slice", indices, **cut), node.emit("Slice", updates, **cut)
        new = node.emit(COMBINE[reduction], node.emit("GatherElements", x, at, axis=axis), update)
        x = node.emit("ScatterElements", x, at, new, axis=axis)
    return x


@onnx_op("TensorScatter")
def tensor_scatter(node: Node) -> Results:
    x, updates, starts = node[0], node[1], node.get(2)
    axis = axis_of(node.integer("axis", -2), len(x.shape))
    shape = [1] * len(x.shape)
    shape[axis] = updates.shape[axis]
    place = node.arange(updates.shape[axis]).reshape(*shape)
    if starts is not None:
        place = place + starts.cast(DType.int64).reshape(x.shape[0], *[1] * (len(x.shape) - 1))
    if node.text("mode", "linear") == "circular":
        place = node.emit("Mod", place, x.shape[axis])
    return node.emit("ScatterElements", x, place.expand(*updates.shape), updates, axis=axis)


@onnx_op("OneHot")
def one_hot(node: Node) -> Results:
    (depth,) = node.known_ints(1)
    values, indices = node[2], node[0].cast(DType.int64)
    axis = axis_of(node.integer("axis", -1), len(indices.shape) + 1)
    wrapped = node.where(indices < 0, indices + depth, indices)
    hot = node.emit("OneHot", wrapped, depth=depth, dtype=DType.bool)
    order = list(range(len(indices.shape)))
    order.insert(axis, len(indices.shape))
    return node.where(hot.permute(*order), values[1], values[0])


@onnx_op("Compress")
def compress(node: Node) -> Results:
    x = node[0]
    kept = node.constant(np.flatnonzero(node.known(1)), DType.int64)
    if not node.has("axis"):
        return node.emit("Gather", x.reshape(x.type.elements), kept, axis=0)
    return node.emit("Gather", x, kept, axis=axis_of(node.integer("axis"), len(x.shape)))


@onnx_op("ReverseSequence")
def reverse_sequence(node: Node) -> Results:
    x, lengths = node[0], node[1].cast(DType.int64)
    time, batch = node.integer("time_axis", 0), node.integer("batch_axis", 1)
    shape = [1] * len(x.shape)
    shape[batch] = x.shape[batch]
    length = lengths.reshape(*shape)
    shape[batch], shape[time] = 1, x.shape[time]
    step = node.arange(x.shape[time]).reshape(*shape)
    source = node.where(step < length, length - step - 1, step + length * 0)
    return node.emit("GatherElements", x, source.expand(*x.shape), axis=time)
