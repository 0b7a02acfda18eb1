"""One ATen call of the exported graph, and the program that its rule writes to.

A rule is a function of a `Site` and the call's arguments: tensors as symbols, everything else as
it stands in the graph. Arguments that only say where a tensor lies (device, layout, pinned memory,
memory format) never reach it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch.fx import Node

from bcai.bridge.guest.export.types import TORCH, Scalar, UnsupportedError, type_of
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.program.builder import Builder

Operand = Symbol | Scalar
Result = Symbol | Sequence[Symbol | None] | None
"""A tensor, several of them (None for one that nobody reads), or nothing."""
Rule = Callable[..., Result]

EXACT_FLOAT64 = 1 << 53


class Family:
    """The rules of one file, by overload; `relu` stands for `aten.relu.default`."""

    def __init__(self) -> None:
        self.rules: dict[str, Rule] = {}

    def __call__(self, *overloads: str) -> Callable[[Rule], Rule]:
        """Enter a rule for these overloads (decorator)."""

        def enter(rule: Rule) -> Rule:
            for each in overloads:
                name = f"aten.{each}" if "." in each else f"aten.{each}.default"
                if name in self.rules:
                    raise ValueError(f"{name} has two rules")
                self.rules[name] = rule
            return rule

        return enter


@dataclass(slots=True)
class Draws:
    """The counter-based random numbers of a program: its two keys, and streams in graph order."""

    seed: Symbol | None = None
    step: Symbol | None = None
    streams: int = field(default=0)

    def next(self) -> tuple[Symbol, Symbol, int]:
        """Return seed, step and a stream that nobody has used."""
        if self.seed is None or self.step is None:
            raise UnsupportedError("random numbers in a place that was not expected to draw any")
        self.streams += 1
        return self.seed, self.step, self.streams - 1


@dataclass(frozen=True, slots=True)
class Site:
    """One ATen call, and where its instructions go."""

    builder: Builder
    node: Node
    draws: Draws

    @property
    def out(self) -> TensorType:
        """Type of the first result, as torch computed it."""
        return type_of(first(self.node.meta["val"]))

    def out_at(self, index: int) -> TensorType:
        """Type of result `index`."""
        return type_of(self.node.meta["val"][index])

    def reads(self, index: int) -> bool:
        """Whether anything reads result `index`."""
        return any(user.args[1] == index for user in self.node.users if len(user.args) > 1)

    def full(self, shape: Sequence[int], value: Scalar, dtype: DType) -> Symbol:
        """A tensor filled with one number."""
        if not dtype.is_float and abs(value) >= EXACT_FLOAT64:
            return self.constant(np.full(shape, value, dtype.numpy))
        attributes = {"shape": tuple(shape), "value": float(value), "dtype": dtype}
        return self.builder.emit("Full", (), attributes)[0]

    def constant(self, array: Array) -> Symbol:
        """A tensor that stands in the program."""
        return self.builder.constant(array)

    def cast(self, operand: Operand, dtype: DType) -> Symbol:
        """The operand in an element type; a number becomes a scalar."""
        if isinstance(operand, Symbol):
            return operand.cast(dtype)
        return self.full((), operand, dtype)

    def same(self, *operands: Operand, dtype: DType | None = None) -> list[Symbol]:
        """Operands in one element type: `dtype`, or that of the first result."""
        wanted = self.out.dtype if dtype is None else dtype
        return [self.cast(each, wanted) for each in operands]

    def promoted(self, *operands: Operand) -> list[Symbol]:
        """Operands in the element type that torch promotes them to; Python numbers are weak."""
        return self.same(*operands, dtype=promote(*operands))

    def emit(self, name: str, *operands: Symbol | float | None, **attributes: Any) -> Symbol:
        """Emit an instruction and return its first result."""
        return self.builder.emit(name, operands, attributes)[0]

    def all(
        self, name: str, *operands: Symbol | float | None, **attributes: Any
    ) -> tuple[Symbol, ...]:
        """Emit an instruction and return all its results."""
        return self.builder.emit(name, operands, attributes)

    def where(self, mask: Symbol, yes: Operand, no: Operand) -> Symbol:
        """Emit `Where`; a number takes the other side's element type."""
        like = yes if isinstance(yes, Symbol) else no
        if not isinstance(like, Symbol):
            raise TypeError("one side must be a symbol")
        return mask.emit("Where", *self.same(yes, no, dtype=like.dtype))

    def concat(self, parts: Sequence[Symbol], axis: int) -> Symbol:
        """Tensors one after the other; a single one as it is."""
        return parts[0] if len(parts) == 1 else self.emit("Concat", *parts, axis=axis)

    def take_flat(self, x: Symbol, places: Array) -> Symbol:
        """Elements of `x`, at row-major places known now, in the shape of `places`."""
        flat = x.reshape(x.type.elements)
        return flat.emit("Gather", self.constant(places.astype(np.int64)), axis=0)

    def put_flat(self, x: Symbol, places: Array, updates: Symbol) -> Symbol:
        """`x` with `updates` written at row-major places known now."""
        flat = x.reshape(x.type.elements)
        at = self.constant(places.astype(np.int64).reshape(-1))
        written = flat.emit("ScatterElements", at, updates.reshape(places.size), axis=0)
        return written.reshape(*x.shape)


def first(value: Any) -> torch.Tensor:
    """The first tensor of a call's value."""
    return cast("Sequence[Any]", value)[0] if isinstance(value, (tuple, list)) else value


def promote(*operands: Operand) -> DType:
    """Element type that torch promotes operands to: tensors, then scalars, then numbers."""
    stand_ins = [_stand_in(each) for each in operands]
    result = stand_ins[0]
    for each in stand_ins[1:]:
        result = torch.empty((0,) * _rank(result, each), dtype=torch.result_type(result, each))
    if isinstance(result, torch.Tensor):
        return DType[str(result.dtype).removeprefix("torch.")]
    raise TypeError("no tensor among the operands")


def _rank(*each: torch.Tensor | Scalar) -> int:
    return max(one.ndim if isinstance(one, torch.Tensor) else 0 for one in each)


def _stand_in(operand: Operand) -> torch.Tensor | Scalar:
    if isinstance(operand, Symbol):
        return torch.empty((0,) * min(1, len(operand.shape)), dtype=TORCH[operand.dtype])
    return operand


def places(shape: Sequence[int]) -> Array:
    """Row-major places of the elements of a shape, in that shape."""
    return np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.int64).reshape(tuple(shape))


def axis_of(x: Symbol, dim: int) -> int:
    """A dim as an axis from 0; a scalar counts as one axis, as torch does."""
    return dim % max(1, len(x.shape))
