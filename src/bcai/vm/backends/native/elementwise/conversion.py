"""Conversions between element types, and numbers made from places."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

import numpy as np

from bcai.vm.backends.native.elementwise.application import Application, Emit
from bcai.vm.backends.native.elementwise.lanes import Lanes, literal_element, register_type
from bcai.vm.backends.native.llvm import F64, I64, Value, vector
from bcai.vm.backends.native.narrow import NARROW, round_to_odd
from bcai.vm.isa.types import DType

_UNSIGNED = frozenset({DType.uint8, DType.bool})
_FAR = 1 << 62
"""Beyond every place."""


def converted(lanes: Lanes, value: Value, source: DType, target: DType) -> Value:
    """`Cast`, rounded to `target` too."""
    if source is target:
        return value
    if target is DType.bool:
        return _to_bool(lanes, value, source)
    if target.is_float:
        return lanes.rounded(_to_float(lanes, value, source, target), target)
    return _to_integer(lanes, value, source, target)


def _to_bool(lanes: Lanes, value: Value, source: DType) -> Value:
    zero = lanes.f.constant(value.type, 0)
    if source.is_float:
        return lanes.f.b.fcmp_unordered("!=", value, zero)
    return lanes.f.b.icmp_signed("!=", value, zero)


def _to_float(lanes: Lanes, value: Value, source: DType, target: DType) -> Value:
    b, type_ = lanes.f.b, register_type(target, lanes.count)
    if not source.is_float:
        return b.uitofp(value, type_) if source in _UNSIGNED else b.sitofp(value, type_)
    if target is DType.float64:
        return b.fpext(value, type_)
    if source is not DType.float64:
        return value
    return round_to_odd(lanes.f, value) if target in NARROW else b.fptrunc(value, type_)


def _to_integer(lanes: Lanes, value: Value, source: DType, target: DType) -> Value:
    b, type_ = lanes.f.b, register_type(target, lanes.count)
    if source.is_float:
        return _saturated(lanes, value, target)
    if source.itemsize > target.itemsize:
        return b.trunc(value, type_)
    if source is not DType.bool and source.itemsize == target.itemsize:
        return value
    return b.zext(value, type_) if source in _UNSIGNED else b.sext(value, type_)


def _saturated(lanes: Lanes, value: Value, target: DType) -> Value:
    """Towards zero, the nearest limit for what lies beyond, 0 for not-a-number.

    Not `llvm.fptosi.sat`, which is done lane by lane on x86.
    """
    f, b = lanes.f, lanes.f.b
    limits = np.iinfo(target.numpy)
    least, most = int(limits.min), int(limits.max)
    low, end = (f.constant(value.type, float(each)) for each in (least, most + 1))
    is_low, is_high = b.fcmp_ordered("<=", value, low), b.fcmp_ordered(">=", value, end)
    is_beyond = b.fcmp_unordered("uno", value, value)
    is_beyond = b.or_(is_beyond, b.or_(is_low, is_high))
    inside = b.select(is_beyond, f.constant(value.type, 0.0), value)
    type_ = register_type(target, lanes.count)
    short = target.itemsize < DType.int32.itemsize
    whole = b.fptosi(inside, register_type(DType.int32, lanes.count) if short else type_)
    whole = b.trunc(whole, type_) if short else whole
    bounded = b.select(is_high, f.constant(type_, most), whole)
    return b.select(is_low, f.constant(type_, least), bounded)


def _cast(a: Application) -> Value:
    return converted(a.lanes, a.values[0], a.dtypes[0], a.dtype)


def _arange(a: Application) -> Value:
    """`values`: place along the axis."""
    f, real = a.f, vector(F64, a.lanes.count)
    start, step = (
        f.constant(real, float(cast(float, a.attributes[each]))) for each in ("start", "step")
    )
    number = f.b.fadd(start, f.b.fmul(f.b.sitofp(a.values[0], real), step))
    return converted(a.lanes, number, DType.float64, a.dtype)


def _one_hot(a: Application) -> Value:
    """`values`: index, and place along the last axis."""
    index, place = a.values
    wide = converted(a.lanes, index, a.dtypes[0], DType.int64)
    hit = a.f.b.icmp_signed("==", wide, place)
    return converted(a.lanes, hit, DType.bool, a.dtype)


def _triangle(operator: str) -> Emit:
    """`values`: element, row and column."""

    def emit(a: Application) -> Value:
        x, row, column = a.values
        diagonal = max(-_FAR, min(int(cast(int, a.attributes["diagonal"])), _FAR))
        end = a.f.b.add(row, a.f.constant(vector(I64, a.lanes.count), diagonal))
        inside = a.f.b.icmp_signed(operator, column, end)
        return a.f.b.select(inside, x, literal_element(a.lanes, 0, a.dtype))

    return emit


CONVERSION: Mapping[str, Emit] = MappingProxyType(
    {"Cast": _cast, "Copy": lambda a: a.values[0], "StopGradient": lambda a: a.values[0]}
)

PLACES: Mapping[str, Emit] = MappingProxyType(
    {"Arange": _arange, "OneHot": _one_hot, "Tril": _triangle("<="), "Triu": _triangle(">=")}
)
"""Their last operands are places, as int64."""
