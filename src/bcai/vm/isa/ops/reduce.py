"""Reductions over axes, in the order of Note [Order of a sum]."""

import math

from bcai.vm.isa.op import Bound, Call, Gradients, instruction
from bcai.vm.isa.order import sum_last
from bcai.vm.isa.rules import REDUCE
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import NUMBERS, Array


def flatten_axes(x: Array, axes: tuple[int, ...]) -> Array:
    """Move the reduced axes to the end, ascending, as one axis in row-major order."""
    plain = sorted(axis % x.ndim for axis in axes) if x.ndim else []
    kept = [axis for axis in range(x.ndim) if axis not in plain]
    moved = x.transpose(*kept, *plain)
    return moved.reshape(*(x.shape[axis] for axis in kept), math.prod(x.shape[a] for a in plain))


def keep(result: Array, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """Put reduced axes back as size 1 if they are kept."""
    plain = {axis % x.ndim for axis in axes} if x.ndim else set[int]()
    if not keepdims:
        return result
    return result.reshape(*(1 if axis in plain else n for axis, n in enumerate(x.shape)))


def unreduce(d: Symbol, x: Symbol, axes: tuple[int, ...]) -> Symbol:
    """Spread a reduction's gradient over the reduced axes."""
    plain = {axis % len(x.shape) for axis in axes}
    shape = (1 if axis in plain else n for axis, n in enumerate(x.shape))
    return d.reshape(*shape).expand(*x.shape)


@instruction(
    opcode=0x0200, dtypes=NUMBERS, types=REDUCE, name="Sum", bound=Bound(ulp=1, terms_ulp=1)
)
def sum_(x: Array, *, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """Sum over `axes`, flattened ascending in row-major order. Of nothing: +0. Integers wrap."""
    return keep(sum_last(flatten_axes(x, axes)), x, axes, keepdims)


@sum_.gradient
def _(call: Call) -> Gradients:
    return (unreduce(call.d, call[0], call.attributes["axes"]),)


OPS = (sum_,)
