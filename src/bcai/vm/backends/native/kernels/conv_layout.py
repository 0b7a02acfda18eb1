"""Operands as convolutions and pools want them: one after the other, in float32 or float64."""

import hashlib
from collections.abc import Sequence

from bcai.vm.backends.native.kernels.strided import copied, temporary
from bcai.vm.backends.native.launch import Launch
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.backends.native.narrow import NARROW
from bcai.vm.compiler.plan import View, row_major
from bcai.vm.isa.types import DType


def wide(dtype: DType) -> DType:
    """The type that a float is computed in."""
    return DType.float32 if dtype in NARROW else dtype


def symbol_of(name: str, kernel: object) -> str:
    """A name for a kernel that no other code has: its fields are hashed."""
    return f"{name}_{hashlib.sha256(repr(kernel).encode()).hexdigest()[:16]}"


def plain_operand(view: View, scope: Scope, position: int) -> View:
    """The same values one after the other and wide: the view itself, or a copy of it."""
    dtype = wide(view.type.dtype)
    if view.is_contiguous and dtype is view.type.dtype:
        return view
    type_ = view.type.with_dtype(dtype)

    def copy_in(number: int) -> View:
        return View(number, type_, row_major(type_.shape))

    def make(number: int) -> Sequence[Launch]:
        return [copied(view, copy_in(number), position)]

    return copy_in(scope.once(("plain", view), type_.nbytes, make))


def plain_result(view: View, scope: Scope) -> View:
    """A view to write: the given one, or a temporary that `finish` copies to it."""
    dtype = wide(view.type.dtype)
    if view.is_contiguous and dtype is view.type.dtype:
        return view
    return temporary(view.type.with_dtype(dtype), scope)


def finish(computed: View, view: View, position: int) -> list[Launch]:
    """Copy what was computed to where it belongs, unless it is there."""
    return [] if computed is view else [copied(computed, view, position)]
