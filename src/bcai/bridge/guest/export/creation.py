"""Tensors made from nothing but numbers."""

import numpy as np

from bcai.bridge.guest.export.site import Family, Operand, Site
from bcai.bridge.guest.export.types import Scalar
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType

rule = Family()


@rule("full", "full_like")
def _(at: Site, like: object, value: Operand) -> Symbol:
    del like
    return filled(at, value)


@rule("new_full")
def _(at: Site, like: object, shape: object, value: Operand) -> Symbol:
    del like, shape
    return filled(at, value)


@rule("fill.Scalar", "fill.Tensor")
def _(at: Site, like: object, value: Operand) -> Symbol:
    del like
    return filled(at, value)


def filled(at: Site, value: Operand) -> Symbol:
    """The result's type, filled with a number or with the one element of a tensor."""
    out = at.out
    if isinstance(value, Symbol):
        return value.cast(out.dtype).reshape().expand(*out.shape)
    return at.full(out.shape, value, out.dtype)


@rule("zeros", "zeros_like", "new_zeros", "_efficientzerotensor")
def _(at: Site, *_: object) -> Symbol:
    return at.full(at.out.shape, 0, at.out.dtype)


@rule("ones", "ones_like", "new_ones")
def _(at: Site, *_: object) -> Symbol:
    return at.full(at.out.shape, 1, at.out.dtype)


@rule(
    *("empty.memory_format", "empty_like", "new_empty", "empty_strided", "new_empty_strided"),
    "empty_permuted",
)
def _(at: Site, *_: object) -> Symbol:
    return at.full(at.out.shape, 0, at.out.dtype)  # what is there is anybody's guess: take 0


@rule("scalar_tensor")
def _(at: Site, value: Scalar) -> Symbol:
    return at.full((), value, at.out.dtype)


@rule("arange")
def _(at: Site, end: Scalar) -> Symbol:
    del end
    return counted(at, 0, 1)


@rule("arange.start_step", "arange.start")
def _(at: Site, start: Scalar, end: Scalar, step: Scalar = 1) -> Symbol:
    del end
    return counted(at, start, step)


def counted(at: Site, start: Scalar, step: Scalar) -> Symbol:
    """`start`, `start + step`, ..., as many as the result has."""
    (count,) = at.out.shape
    limits = {"start": float(start), "step": float(step), "count": count}
    return at.emit("Arange", **limits, dtype=at.out.dtype)


@rule("linspace")
def _(at: Site, start: Scalar, end: Scalar, steps: int) -> Symbol:
    out = at.out
    return at.constant(np.linspace(start, end, steps).astype(out.dtype.numpy))


@rule("eye", "eye.m")
def _(at: Site, *_: object) -> Symbol:
    return at.constant(np.eye(*at.out.shape, dtype=np.uint8)).cast(at.out.dtype)


@rule("tril")
def _(at: Site, x: Symbol, diagonal: int = 0) -> Symbol:
    return at.emit("Tril", x, diagonal=diagonal)


@rule("triu")
def _(at: Site, x: Symbol, diagonal: int = 0) -> Symbol:
    return at.emit("Triu", x, diagonal=diagonal)


@rule("tril_indices")
def _(at: Site, rows: int, columns: int, offset: int = 0) -> Symbol:
    return at.constant(np.array(np.tril_indices(rows, offset, columns), at.out.dtype.numpy))


@rule("triu_indices")
def _(at: Site, rows: int, columns: int, offset: int = 0) -> Symbol:
    return at.constant(np.array(np.triu_indices(rows, offset, columns), at.out.dtype.numpy))


@rule("one_hot")
def _(at: Site, indices: Symbol, classes: int = -1) -> Symbol:
    del classes
    depth = at.out.shape[-1]
    return at.emit("OneHot", indices, depth=depth, dtype=DType.int64)
