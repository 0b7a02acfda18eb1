"""Products of matrices, Einstein sums, Fourier transforms, window functions."""

import math
from itertools import permutations

import numpy as np
from tests.conformance.onnx.importer import Node, Results, UnsupportedError, axis_of, onnx_op

from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, DType

DETERMINANT_SIZE_MAX = 4
"""Leibniz' formula has factorially many terms."""


@onnx_op("Gemm")
def gemm(node: Node) -> Results:
    a, b, c = node[0], node[1], node.get(2)
    a = a.transpose() if node.integer("transA", 0) else a
    b = b.transpose() if node.integer("transB", 0) else b
    product, alpha, beta = a @ b, node.number("alpha", 1.0), node.number("beta", 1.0)
    if alpha != 1.0:
        product = product * alpha
    if c is None:
        return product
    return product + (c if beta == 1.0 else c * beta)


@onnx_op("MatMulInteger")
def mat_mul_integer(node: Node) -> Results:
    a, b = node[0].cast(DType.int32), node[1].cast(DType.int32)
    left, right = node.get(2), node.get(3)
    if left is not None:
        point = left.cast(DType.int32)
        a = a - (point.reshape(*point.shape, 1) if len(point.shape) else point)
    return a @ (b if right is None else b - right.cast(DType.int32))


@onnx_op("QLinearMatMul")
def q_linear_mat_mul(node: Node) -> Results:
    a = node[0].cast(DType.int32) - node[2].cast(DType.int32).reshape()
    b = node[3].cast(DType.int32) - node[5].cast(DType.int32).reshape()
    scales = [node[index].cast(DType.float32).reshape() for index in (1, 4, 6)]
    scaled = (a @ b).cast(DType.float32) * (scales[0] * scales[1] / scales[2])
    point = node[7]
    return (node.emit("Round", scaled) + point.cast(DType.float32).reshape()).cast(point.dtype)


@onnx_op("Einsum")
def einsum(node: Node) -> Results:
    """Align all operands on their labels, multiply, and sum what the result lacks."""
    equation = node.text("equation").replace(" ", "")
    left, arrow, right = equation.partition("->")
    operands = [symbol for symbol in node.inputs if symbol is not None]
    terms = [_labels(term, len(x.shape)) for term, x in zip(left.split(","), operands, strict=True)]
    every = "".join(sorted({label for term in terms for label in term}))
    if arrow:
        dots = max((sum(label.isdigit() for label in term) for term in terms), default=0)
        result = right.replace("...", "".join(map(str, range(10 - dots, 10))))
    else:
        joined = "".join(terms)
        result = "".join(each for each in every if each.isdigit() or joined.count(each) == 1)
    product = None
    for term, x in zip(terms, operands, strict=True):
        part = _aligned(node, x, term, every)
        product = part if product is None else product * part
    assert product is not None
    gone = tuple(place for place, label in enumerate(every) if label not in result)
    summed = node.emit("Sum", product, axes=gone) if gone else product
    kept = [label for label in every if label in result]
    return summed.permute(*(kept.index(label) for label in result))


def _labels(term: str, rank: int) -> str:
    """The labels of one operand; the axes of an ellipsis are digits up to 9."""
    if "..." not in term:
        return term
    count = rank - len(term) + 3
    return term.replace("...", "".join(map(str, range(10 - count, 10))))


def _aligned(node: Node, x: Symbol, term: str, every: str) -> Symbol:
    for label in sorted(set(term)):
        while term.count(label) > 1:
            first, second = term.index(label), term.rindex(label)
            x = _diagonal(node, x, first, second)
            term = term[:second] + term[second + 1 :]
    order = sorted(range(len(term)), key=lambda axis: every.index(term[axis]))
    sizes = dict(zip(term, x.shape, strict=True))
    return x.permute(*order).reshape(*(sizes.get(label, 1) for label in every))


def _diagonal(node: Node, x: Symbol, first: int, second: int) -> Symbol:
    """Elements where two axes agree; the second axis disappears."""
    shape = list(x.shape)
    shape[second] = 1
    along = [1] * len(shape)
    along[first] = shape[first]
    places = node.arange(shape[first]).reshape(*along).expand(*shape)
    picked = node.emit("GatherElements", x, places, axis=second)
    return node.emit("Squeeze", picked, axes=(second,))


@onnx_op("Det")
def determinant(node: Node) -> Results:
    x = node[0]
    size, rank = x.shape[-1], len(x.shape)
    if size > DETERMINANT_SIZE_MAX:
        raise UnsupportedError(f"a determinant of size {size}")
    total = None
    for order in permutations(range(size)):
        sign = np.linalg.det(np.eye(size)[list(order)])
        term = None
        for row, column in enumerate(order):
            line = x.emit("Select", axis=rank - 2, index=row)
            entry = line.emit("Select", axis=rank - 2, index=column)
            term = entry if term is None else term * entry
        assert term is not None
        term = term if sign > 0 else -term
        total = term if total is None else total + term
    assert total is not None
    return total


@onnx_op("HannWindow", "HammingWindow", "BlackmanWindow")
def window(node: Node) -> Results:
    (size,) = node.known_ints(0)
    dtype = node.dtype("output_datatype", 1)
    steps = size if node.integer("periodic", 1) else size - 1
    angle = node.arange(size, DType.float32) * (2.0 * math.pi / steps)
    cosine = node.emit("Cos", angle)
    match node.raw.op:
        case "HannWindow":
            result = 0.5 - cosine * 0.5
        case "HammingWindow":
            result = 25.0 / 46.0 - cosine * (1.0 - 25.0 / 46.0)
        case _:
            result = (0.42 - cosine * 0.5) + node.emit("Cos", angle * 2.0) * 0.08
    return result.cast(dtype)


@onnx_op("DFT")
def fourier(node: Node) -> Results:
    x, rank = node[0], len(node[0].shape)
    inverse, onesided = bool(node.integer("inverse", 0)), bool(node.integer("onesided", 0))
    if node.version < 20:
        axis = axis_of(node.integer("axis", 1), rank)
    else:
        axis = axis_of(node.known_ints(2)[0] if node.get(2) is not None else -2, rank)
    have = x.shape[axis]
    length = 2 * (have - 1) if inverse and onesided else have
    if node.get(1) is not None:
        (length,) = node.known_ints(1)
    real, imaginary = _fourier_matrices(have, length, inverse, onesided)
    return transformed(node, x, axis, real, imaginary, real_result=inverse and onesided)


def transformed(
    node: Node, x: Symbol, axis: int, real: Array, imaginary: Array, *, real_result: bool
) -> Symbol:
    """The product with a complex matrix along an axis; the last axis holds both parts.

    In float64: where everything cancels, the tests expect 0 to 1e-7.
    """
    last = len(x.shape) - 1
    order = [each for each in range(last) if each != axis] + [axis]
    back = [order.index(each) for each in range(last)]

    def along(part: Symbol, matrix: Array) -> Symbol:
        return (part.permute(*order) @ node.constant(matrix, part)).permute(*back)

    wide = x.cast(DType.float64)
    parts = [wide.emit("Select", axis=last, index=index) for index in range(x.shape[last])]
    first, second = along(parts[0], real), along(parts[0], imaginary)
    if len(parts) == 2:
        first = first - along(parts[1], imaginary)
        second = second + along(parts[1], real)
    kept = [first] if real_result else [first, second]
    apart = [each.emit("Unsqueeze", axes=(last,)) for each in kept]
    return node.emit("Concat", *apart, axis=last).cast(x.dtype)


def _fourier_matrices(have: int, length: int, inverse: bool, onesided: bool) -> tuple[Array, Array]:
    """Rows: places of the signal (zero beyond `length`); columns: frequencies."""
    columns = length // 2 + 1 if onesided and not inverse else length
    turn = np.outer(np.arange(have), np.arange(columns)) % length
    angle = 2 * np.pi * turn / length
    present = (np.arange(have) < length)[:, None]
    real, imaginary = np.cos(angle) * present, np.sin(angle) * (1 if inverse else -1) * present
    if inverse and onesided:  # the other half is the conjugate
        weight = np.full(have, 2.0)
        weight[0] = 1
        if length % 2 == 0 and length // 2 < have:
            weight[length // 2] = 1
        weight[length // 2 + 1 :] = 0
        real, imaginary = real * weight[:, None], imaginary * weight[:, None]
    share = length if inverse else 1
    return real / share, imaginary / share


@onnx_op("STFT")
def short_time_fourier(node: Node) -> Results:
    signal, (step,) = node[0], node.known_ints(1)
    shaped = node.get(2)
    length = node.known_ints(3)[0] if node.get(3) is not None else node[2].shape[0]
    count = (signal.shape[1] - length) // step + 1
    places = np.arange(count)[:, None] * step + np.arange(length)
    frames = node.emit("Gather", signal, node.constant(places, DType.int64), axis=1)
    if shaped is not None:
        frames = frames * shaped.reshape(1, 1, length, 1)
    onesided = bool(node.integer("onesided", 1))
    real, imaginary = _fourier_matrices(length, length, inverse=False, onesided=onesided)
    return transformed(node, frames, 2, real, imaginary, real_result=False)
