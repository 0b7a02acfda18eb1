"""Element-by-element instructions on integers that can fail: they cannot stand in a loop.

A divisor of 0, a shift by a negative count and 0 to a negative power are the operands' fault.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bcai.vm.backends.native.elementwise import supports
from bcai.vm.backends.native.elementwise.lanes import IN_MEMORY
from bcai.vm.backends.native.kernels.index import broadcast_view
from bcai.vm.backends.native.kernels.strided import address, joined_axes, walked
from bcai.vm.backends.native.launch import Launch, entry
from bcai.vm.backends.native.llvm import I1, I64, Function, Module, Value
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import OpTask
from bcai.vm.isa.types import DType

GRAIN_ELEMENTS = 1 << 14


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two integers of one type, and what is known of them."""

    f: Function
    a: Value
    b: Value
    dtype: DType

    @property
    def is_signed(self) -> bool:
        """Whether the type has negative numbers."""
        return self.dtype is not DType.uint8

    def number(self, value: int) -> Value:
        """A constant of the type."""
        return self.f.constant(self.a.type, value)

    def is_negative(self, value: Value) -> Value:
        """Whether a value is below 0."""
        return self.f.b.icmp_signed("<", value, self.number(0))

    def is_number(self, value: Value, number: int) -> Value:
        """Whether a value is this number."""
        return self.f.b.icmp_signed("==", value, self.number(number))


_Checked = tuple[Value, Value]
"""Whether the operands are at fault, and the result otherwise."""


def _div(p: _Pair) -> _Checked:
    b, fault = p.f.b, p.is_number(p.b, 0)
    if not p.is_signed:
        return fault, b.udiv(p.a, b.select(fault, p.number(1), p.b))
    is_minus = p.is_number(p.b, -1)  # the least number by -1 would trap
    quotient = b.sdiv(p.a, _safe(p, b.or_(fault, is_minus)))
    return fault, b.select(is_minus, b.sub(p.number(0), p.a), quotient)


def _fmod(p: _Pair) -> _Checked:
    b, fault = p.f.b, p.is_number(p.b, 0)
    if not p.is_signed:
        return fault, b.urem(p.a, _safe(p, fault))
    return fault, b.srem(p.a, _safe(p, b.or_(fault, p.is_number(p.b, -1))))


def _mod(p: _Pair) -> _Checked:
    fault, rest = _fmod(p)
    if not p.is_signed:
        return fault, rest
    b = p.f.b
    other_sign = p.is_negative(b.xor(rest, p.b))
    moves = b.and_(other_sign, b.not_(p.is_number(rest, 0)))
    return fault, b.select(moves, b.add(rest, p.b), rest)


def _safe(p: _Pair, unsafe: Value) -> Value:
    return p.f.b.select(unsafe, p.number(1), p.b)


def _shift_left(p: _Pair) -> _Checked:
    b, inside, by = p.f.b, *_count(p)
    return p.is_negative(p.b), b.select(inside, b.shl(p.a, by), p.number(0))


def _shift_right(p: _Pair) -> _Checked:
    b, inside, by = p.f.b, *_count(p)
    beyond = b.ashr(p.a, p.number(8 * p.dtype.itemsize - 1))  # 0 or -1
    return p.is_negative(p.b), b.select(inside, b.ashr(p.a, by), beyond)


def _count(p: _Pair) -> tuple[Value, Value]:
    """Whether the count is below the width, and the count if so."""
    inside = p.f.b.icmp_unsigned("<", p.b, p.number(8 * p.dtype.itemsize))
    return inside, p.f.b.select(inside, p.b, p.number(0))


def _pow(p: _Pair) -> _Checked:
    f, b, one, zero = p.f, p.f.b, p.number(1), p.number(0)
    below = p.is_negative(p.b)
    left = b.select(below, zero, p.b)
    leading = f.intrinsic("ctlz", left, f.constant(I1, 0), suffix=left.type)
    leading = leading if leading.type == I64 else b.zext(leading, I64)
    with f.loop(0, f.sub(8 * p.dtype.itemsize, leading), carry=[one, p.a, left]) as loop:
        result, factor, left = loop.carried
        odd = p.is_number(b.and_(left, one), 1)
        loop.following[:] = [
            b.select(odd, b.mul(result, factor), result),
            b.mul(factor, factor),
            b.ashr(left, one),
        ]
    is_odd = p.is_number(b.and_(p.b, one), 1)
    is_unit = b.or_(p.is_number(p.a, 1), p.is_number(p.a, -1))
    reciprocal = b.select(is_unit, b.select(is_odd, p.a, one), zero)
    fault = b.and_(below, p.is_number(p.a, 0))
    return fault, b.select(below, reciprocal, loop.following[0])


CHECKED: Mapping[str, Callable[[_Pair], _Checked]] = MappingProxyType(
    {
        "Div": _div,
        "Mod": _mod,
        "Fmod": _fmod,
        "BitShiftLeft": _shift_left,
        "BitShiftRight": _shift_right,
        "Pow": _pow,
    }
)


@dataclass(frozen=True, slots=True)
class CheckedKernel:
    """Slots: a, b, result, elements of a line, its stride in each, outer axes. A unit is a line."""

    name: str
    dtype: DType
    rank: int
    library: str | None = "checked"

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        return f"checked_{self.name.lower()}_{self.dtype.name}_{self.rank}"

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        at = entry(module, self.symbol)
        f, type_ = at.f, IN_MEMORY[self.dtype]
        pointers = [at.pointer(slot) for slot in range(3)]
        count, steps = at.number(3), [at.number(slot) for slot in range(4, 7)]
        with f.loop(at.begin, at.end) as line:
            offsets = walked(at, line.index, 7, self.rank, 3)
            with f.loop(0, count) as loop:
                a, b, result = (
                    f.offset(pointer, f.add(offset, f.mul(loop.index, step)), type_)
                    for pointer, offset, step in zip(pointers, offsets, steps, strict=True)
                )
                pair = _Pair(f, f.load(a, type_), f.load(b, type_), self.dtype)
                fault, value = CHECKED[self.name](pair)
                with f.when(fault, likely=False):
                    f.give(1)
                f.store(value, result)
        f.give(0)


def checked(task: OpTask, scope: Scope) -> Sequence[Launch] | None:
    """Launches for an instruction on integers that can fail; None where it stands in a loop."""
    del scope
    a, b = (each for each in task.operands if each is not None)
    (result,) = task.results
    if supports(task.op, [result.type.dtype]):
        return None
    views = [*(broadcast_view(each, result.type.shape) for each in (a, b)), result]
    axes = joined_axes(result.type.shape, *(each.strides for each in views))
    line = axes.pop() if axes else (min(1, result.type.elements), 1, 1, 1)
    kernel = CheckedKernel(task.op.name, result.type.dtype, len(axes))
    launch = Launch(
        kernel,
        (*map(address, views), *line, *(each for axis in axes for each in axis)),
        units=math.prod(axis[0] for axis in axes),
        reads=(a.buffer, b.buffer),
        writes=(result.buffer,),
        position=task.position,
        grain=max(1, GRAIN_ELEMENTS // max(1, line[0])),
    )
    return [launch]
