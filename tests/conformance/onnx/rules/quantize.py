"""Quantisation to int8, int16 and uint8 by composition."""

from tests.conformance.onnx.importer import Node, Results, UnsupportedError, axis_of, onnx_op

from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType

RANGES = {
    DType.uint8: (0, 255),
    DType.int8: (-128, 127),
    DType.int16: (-32768, 32767),
    DType.int32: (-(2**31), 2**31 - 1),
}


@onnx_op("QuantizeLinear")
def quantize_linear(node: Node) -> Results:
    x, point = node[0], node.get(2)
    if node.integer("precision", 0):
        raise UnsupportedError("a precision of the division")
    dtype = node.dtype("output_dtype") if node.integer("output_dtype", 0) else DType.uint8
    dtype = dtype if point is None else point.dtype
    if dtype not in RANGES:
        raise UnsupportedError(f"quantisation to {dtype.name}")
    wide = x.cast(DType.float32)
    scaled = node.emit("Round", wide / _spread(node, node[1].cast(DType.float32), x))
    if point is not None:
        scaled = scaled + _spread(node, point.cast(DType.float32), x)
    return scaled.cast(dtype)


@onnx_op("DequantizeLinear")
def dequantize_linear(node: Node) -> Results:
    x, scale, point = node[0], node[1], node.get(2)
    result = scale.dtype
    if node.integer("output_dtype", 0):
        result = node.dtype("output_dtype")
    wide = x.cast(DType.float32)
    if point is not None:
        wide = wide - _spread(node, point.cast(DType.float32), x)
    return (wide * _spread(node, scale.cast(DType.float32), x)).cast(result)


def _spread(node: Node, parameter: Symbol, x: Symbol) -> Symbol:
    """One number for all, one for each place of an axis, or one for each block of it."""
    axis = axis_of(node.integer("axis", 1), len(x.shape))
    block = node.integer("block_size", 0)
    if parameter.type.elements == 1 and not block:
        return parameter.reshape()
    if not block:
        return parameter.reshape(*(n if a == axis else 1 for a, n in enumerate(x.shape)))
    apart = (*parameter.shape[: axis + 1], 1, *parameter.shape[axis + 1 :])
    copies = (*parameter.shape[: axis + 1], block, *parameter.shape[axis + 1 :])
    whole = (*parameter.shape[:axis], parameter.shape[axis] * block, *parameter.shape[axis + 1 :])
    grown = parameter.reshape(*apart).expand(*copies).reshape(*whole)
    return grown.emit("Slice", axis=axis, start=0, stop=x.shape[axis])


@onnx_op("DynamicQuantizeLinear")
def dynamic_quantize_linear(node: Node) -> Results:
    x = node[0]
    axes = tuple(range(len(x.shape)))
    low = node.emit("Min", node.emit("ReduceMin", x, axes=axes), 0.0)
    high = node.emit("Max", node.emit("ReduceMax", x, axes=axes), 0.0)
    scale = (high - low) / 255.0
    point = node.emit("Round", node.emit("Clamp", -low / scale, min=0.0, max=255.0))
    y = (node.emit("Round", x / scale) + point).cast(DType.uint8)
    return y, scale, point.cast(DType.uint8)
