"""Arithmetic, element by element, with NumPy broadcasting."""

import numpy as np

from bcai.vm.isa.op import Call, Gradients, instruction
from bcai.vm.isa.order import widen
from bcai.vm.isa.rules import BINARY
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import NUMBERS, Array


def unbroadcast(d: Symbol, like: Symbol) -> Symbol:
    """Sum a gradient over the axes along which an operand was broadcast."""
    if d.shape == like.shape:
        return d
    extra = len(d.shape) - len(like.shape)
    axes = [
        axis
        for axis in range(len(d.shape))
        if axis < extra or (like.shape[axis - extra] == 1 and d.shape[axis] != 1)
    ]
    return (d.sum(*axes) if axes else d).reshape(*like.shape)


@instruction(opcode=0x0100, dtypes=NUMBERS, types=BINARY)
def add(a: Array, b: Array) -> Array:
    """Sum of `a` and `b`. Integers wrap."""
    return np.add(widen(a), widen(b)).astype(a.dtype)


@add.gradient
def _(call: Call) -> Gradients:
    return unbroadcast(call.d, call[0]), unbroadcast(call.d, call[1])


@instruction(opcode=0x0102, dtypes=NUMBERS, types=BINARY)
def mul(a: Array, b: Array) -> Array:
    """Product of `a` and `b`. Integers wrap."""
    return np.multiply(widen(a), widen(b)).astype(a.dtype)


@mul.gradient
def _(call: Call) -> Gradients:
    return unbroadcast(call.d * call[1], call[0]), unbroadcast(call.d * call[0], call[1])


OPS = (add, mul)
