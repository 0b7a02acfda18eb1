"""Arithmetic, comparison, logic and casts, element by element."""

from tests.conformance.onnx.importer import Node, Results, UnsupportedError, onnx_op

from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType

DIRECT = {
    **{
        name: name
        for name in (
            *("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh"),
            *("Erf", "Exp", "Floor", "Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round"),
            *("Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Tan"),
            *("Tanh", "Add", "Sub", "Mul", "Div", "And", "Or", "Xor", "Equal", "Less", "Greater"),
            *("MatMul", "Where"),
        )
    },
    "BitwiseAnd": "And",
    "BitwiseNot": "Not",
    "BitwiseOr": "Or",
    "BitwiseXor": "Xor",
    "GreaterOrEqual": "GreaterEqual",
    "HardSwish": "Hardswish",
    "IsNaN": "IsNan",
    "LessOrEqual": "LessEqual",
}
"""Operators that are one of our instructions, without attributes."""


@onnx_op(*DIRECT)
def direct(node: Node) -> Results:
    return node.emit(DIRECT[node.raw.op], *node.inputs)


@onnx_op("Identity")
def identity(node: Node) -> Results:
    return node[0]


@onnx_op("Max", "Min", "Sum", "Mean")
def variadic(node: Node) -> Results:
    name = {"Sum": "Add", "Mean": "Add"}.get(node.raw.op, node.raw.op)
    result = node[0]
    for index in range(1, len(node.inputs)):
        result = node.emit(name, result, node[index])
    return result / float(len(node.inputs)) if node.raw.op == "Mean" else result


@onnx_op("Clip")
def clip(node: Node) -> Results:
    low, high, result = node.get(1), node.get(2), node[0]
    if low is not None:
        result = node.emit("Max", result, low)
    return result if high is None else node.emit("Min", result, high)


@onnx_op("Mod")
def mod(node: Node) -> Results:
    return node.emit("Fmod" if node.integer("fmod", 0) else "Mod", node[0], node[1])


@onnx_op("Pow")
def power(node: Node) -> Results:
    base, exponent = node[0], node[1]
    if exponent.dtype.is_float and not base.dtype.is_float:
        return node.emit("Pow", base.cast(exponent.dtype), exponent).cast(base.dtype)
    return node.emit("Pow", base, exponent.cast(base.dtype))


@onnx_op("BitShift")
def bit_shift(node: Node) -> Results:
    x, by = node[0], node[1]
    if by.dtype is not DType.uint8:  # a negative count shifts everything out
        by = node.where(by < 0, x.scalar(8 * x.dtype.itemsize), by)
    left = node.text("direction") == "LEFT"
    return node.emit("BitShiftLeft" if left else "BitShiftRight", x, by)


@onnx_op("IsInf")
def is_inf(node: Node) -> Results:
    x = node[0]
    found = node.emit("IsInf", x)
    if not node.integer("detect_positive", 1):
        found = found & (x < 0.0)
    if not node.integer("detect_negative", 1):
        found = found & (x > 0.0)
    return found


@onnx_op("Cast")
def cast(node: Node) -> Results:
    return node[0].cast(node.dtype("to"))


@onnx_op("CastLike")
def cast_like(node: Node) -> Results:
    return node[0].cast(node[1].dtype)


@onnx_op("BitCast")
def bit_cast(node: Node) -> Results:
    if node.dtype("to") is node[0].dtype:
        return node[0]
    if (node[0].dtype, node.dtype("to")) in {
        (DType.int8, DType.uint8),
        (DType.bool, DType.uint8),
    }:
        return _wrapped(node, node[0])
    raise UnsupportedError("no instruction reads the bits of a float")


def _wrapped(node: Node, x: Symbol) -> Symbol:
    wide = x.cast(DType.int32)
    return (wide & 255).cast(node.dtype("to"))


@onnx_op("Shrink")
def shrink(node: Node) -> Results:
    x = node[0]
    edge, bias = node.number("lambd", 0.5), node.number("bias", 0.0)
    if not x.dtype.is_float:
        raise UnsupportedError("Shrink of integers")
    return node.where(x < -edge, x + bias, node.where(x > edge, x - bias, 0.0))


@onnx_op("Swish")
def swish(node: Node) -> Results:
    return node[0] * node.emit("Sigmoid", node[0] * node.number("alpha", 1.0))


@onnx_op("SwiGLU")
def swiglu(node: Node) -> Results:
    return node[0] * node.emit("Sigmoid", node[0] * node.number("alpha", 1.0)) * node[1]


@onnx_op("Elu", "Celu", "Selu", "LeakyRelu", "ThresholdedRelu", "HardSigmoid", "Gelu", "PRelu")
def activation(node: Node) -> Results:
    x = node[0]
    match node.raw.op:
        case "Elu":
            return node.emit("Elu", x, alpha=node.number("alpha", 1.0))
        case "Celu":
            return node.emit("Celu", x, alpha=node.number("alpha", 1.0))
        case "Selu":
            return _selu(node, x)
        case "LeakyRelu":
            return node.emit("LeakyRelu", x, slope=node.number("alpha", 0.01))
        case "ThresholdedRelu":
            return node.emit("ThresholdedRelu", x, threshold=node.number("alpha", 1.0))
        case "HardSigmoid":
            slope, shift = node.number("alpha", 0.2), node.number("beta", 0.5)
            return node.emit("Hardsigmoid", x, alpha=slope, beta=shift)
        case "Gelu":
            return node.emit("Gelu", x, approximate=node.text("approximate", "none"))
        case _:
            return node.emit("PRelu", x, node[1])


def _selu(node: Node, x: Symbol) -> Symbol:
    alpha, gamma = node.number("alpha", 1.67326319), node.number("gamma", 1.05070102)
    if abs(alpha - 1.67326319) < 1e-6 and abs(gamma - 1.05070102) < 1e-6:
        return node.emit("Selu", x)
    return node.emit("Elu", x, alpha=alpha) * gamma


@onnx_op("Dropout")
def dropout(node: Node) -> Results:
    training = node.get(2)
    if training is not None and bool(node.known(2)):
        ratio = float(node.known(1)) if node.get(1) is not None else 0.5
        if ratio:
            raise UnsupportedError("random numbers of another generator")
    mask = node.emit("Full", shape=node[0].shape, value=1.0, dtype=DType.bool)
    return node[0], mask


@onnx_op("Binarizer")
def binarizer(node: Node) -> Results:
    return (node[0] > node.number("threshold", 0.0)).cast(node[0].dtype)


@onnx_op("Constant")
def constant(node: Node) -> Results:
    importer = node.importer
    for name, value in node.raw.attributes.items():
        match name:
            case "value":
                return importer.constant(node.attribute("value"))
            case "value_int" | "value_ints":
                return node.constant(value, DType.int64)
            case "value_float" | "value_floats":
                return node.constant(value, DType.float32)
            case _:
                raise UnsupportedError(f"a constant of kind {name}")
    raise UnsupportedError("a constant without a value")
