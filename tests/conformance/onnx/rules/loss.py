"""Losses, and the optimizer steps of `ai.onnx.preview.training`."""

from tests.conformance.onnx.importer import Node, Results, onnx_op

from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType

NO_CLASS = -(2**62)


@onnx_op("NegativeLogLikelihoodLoss")
def negative_log_likelihood(node: Node) -> Results:
    return _nll(node, node[0])


@onnx_op("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(node: Node) -> Results:
    if node.wants(1):
        logarithm = node.emit("LogSoftmax", node[0], axis=1)
        return _nll(node, logarithm), logarithm
    return node.emit(
        "CrossEntropy",
        node[0],
        node[1].cast(DType.int64),
        node.get(2),
        reduction=node.text("reduction", "mean"),
        ignore_index=node.integer("ignore_index", NO_CLASS),
    )


def _nll(node: Node, logarithm: Symbol) -> Symbol:
    return node.emit(
        "Nll",
        logarithm,
        node[1].cast(DType.int64),
        node.get(2),
        reduction=node.text("reduction", "mean"),
        ignore_index=node.integer("ignore_index", NO_CLASS),
    )


@onnx_op("Adam", "Momentum", "Adagrad")
def step(node: Node) -> Results:
    """Every parameter's step; results are grouped by kind, as the inputs are."""
    kinds = 4 if node.raw.op == "Adam" else 3
    count = (len(node.inputs) - 2) // kinds
    one = {"Adam": _adam, "Momentum": _momentum, "Adagrad": _adagrad}[node.raw.op]
    rows = [
        one(node, *(node[2 + kind * count + place] for kind in range(kinds)))
        for place in range(count)
    ]
    return [row[kind] for kind in range(kinds - 1) for row in rows]


def _adam(node: Node, x: Symbol, g: Symbol, v: Symbol, h: Symbol) -> tuple[Symbol, ...]:
    rate, count = node[0], node[1].cast(DType.float32)
    alpha, beta = node.number("alpha", 0.9), node.number("beta", 0.999)
    grown = x * node.number("norm_coefficient", 0.0) + g
    v = v * alpha + grown * (1.0 - alpha)
    h = h * beta + grown * grown * (1.0 - beta)
    first, second = (1.0 - node.emit("Pow", rate.scalar(each), count) for each in (alpha, beta))
    started = count > 0.0
    corrected = node.where(started, rate * node.emit("Sqrt", second) / first, rate)
    x = x - corrected * (v / (node.emit("Sqrt", h) + node.number("epsilon", 0.0)))
    return x * (1.0 - node.number("norm_coefficient_post", 0.0)), v, h


def _momentum(node: Node, x: Symbol, g: Symbol, v: Symbol) -> tuple[Symbol, ...]:
    rate, started = node[0], node[1] > 0
    alpha, beta = node.number("alpha"), node.number("beta")
    grown = x * node.number("norm_coefficient", 0.0) + g
    v = v * alpha + grown * node.where(started, rate.scalar(beta), 1.0)
    if node.text("mode", "standard") == "standard":
        return x - rate * v, v
    return x - rate * (grown + v * alpha), v


def _adagrad(node: Node, x: Symbol, g: Symbol, h: Symbol) -> tuple[Symbol, ...]:
    count = node[1].cast(DType.float32)
    rate = node[0] / (count * node.number("decay_factor", 0.0) + 1.0)
    grown = x * node.number("norm_coefficient", 0.0) + g
    h = h + grown * grown
    return x - rate * grown / (node.emit("Sqrt", h) + node.number("epsilon", 0.0)), h
