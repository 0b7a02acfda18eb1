"""Constants of a program: numbers that stand in loops, and arrays in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bcai.base.errors import InputError
from bcai.vm.compiler.affine import Affine, dense
from bcai.vm.compiler.graph import Graph, Number, Value
from bcai.vm.isa.attribute import Attribute
from bcai.vm.isa.op import Op
from bcai.vm.isa.ops.memory import convert
from bcai.vm.isa.types import Array, DType, TensorType

WHOLE_MAX = 1 << 53
"""Whole numbers above are not all floats."""
ZEROS = frozenset(Number(text, each) for text in ("0x0.0p+0", "-0x0.0p+0") for each in DType)
"""Zero of either sign, in every element type."""


def constant(graph: Graph, op: Op, attributes: Mapping[str, Any], type_: TensorType) -> Value:
    """The result of `Full` or `Const`."""
    if op.name == "Full":
        number = convert(np.asarray(attributes["value"], np.float64), type_.dtype)
        return repeated(graph, number, type_)
    data: bytes = attributes["data"]
    array: Array = np.frombuffer(data, type_.dtype.numpy)
    item = type_.dtype.itemsize
    if array.size and data == data[:item] * array.size:
        return repeated(graph, array[0], type_)
    base = graph.base(type_.dtype, type_.elements)
    base.data = data
    return Value(base, dense(type_.shape))


def repeated(graph: Graph, number: Any, type_: TensorType) -> Value:
    """A number everywhere: as such, or as a constant of one element if no float is it."""
    nowhere = Affine(type_.shape, (0,) * type_.rank, 0)
    if type_.dtype.is_float or abs(int(number)) < WHOLE_MAX:
        return Value(Number(float(number).hex(), type_.dtype), nowhere)
    base = graph.base(type_.dtype, 1)
    base.data = np.asarray(number, type_.dtype.numpy).tobytes()
    return Value(base, nowhere)


def computed(
    graph: Graph,
    op: Op,
    attributes: Mapping[str, Attribute],
    operands: Sequence[Value],
    type_: TensorType,
) -> Value | None:
    """The result of an instruction on numbers, by its definition; None where it has none."""
    numbers: list[Array] = []
    for each in operands:
        assert isinstance(each.source, Number)
        numbers.append(np.asarray(each.source.value).astype(each.source.dtype.numpy))
    try:
        with np.errstate(all="ignore"):
            found = np.asarray(op.body(*numbers, **attributes))
    except InputError:
        return None  # it is for the run to say so
    return repeated(graph, found[()], type_)


def identity(op: Op, operands: Sequence[Value], type_: TensorType) -> Value | None:
    """The operand that an instruction gives back as it is, to the bit; or None."""
    first = operands[0] if operands else None
    if first is None or first.type != type_:
        return None
    if op.name == "Cast":
        return first
    if op.name not in ("Mul", "Div", "Sub") or not isinstance(operands[1].source, Number):
        return None
    neutral = "0x0.0p+0" if op.name == "Sub" else "0x1.0000000000000p+0"
    return first if operands[1].source.text == neutral else None
