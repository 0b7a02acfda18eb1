"""The kernel of an integer matrix product: multiply and add, wrapping, in any order."""

from dataclasses import dataclass

from bcai.vm.backends.native.kernels.contraction_batch import batch_offsets
from bcai.vm.backends.native.launch import entry
from bcai.vm.backends.native.llvm import (
    I8,
    I16,
    I32,
    I64,
    Function,
    Module,
    Type,
    Value,
    vector,
)
from bcai.vm.backends.native.target import Target

SLOTS = (
    "left",
    "right",
    "result",
    "rows",
    "columns",
    "depth",
    "left_row",
    "left_k",
    "right_column",
    "right_k",
    "result_row",
    "result_column",
    "axes",
)
"""Arguments, then those of the batch axes. Steps and strides are in bytes."""

_WHOLE: dict[int, Type] = {1: I8, 2: I16, 4: I32, 8: I64}


@dataclass(frozen=True, slots=True)
class ContractIntegers:
    """`T[batch, rows, depth]` times `T[batch, depth, columns]`; a unit is one row of the result.

    Wrapping addition and multiplication are the same for signed and unsigned numbers.
    """

    itemsize: int

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        return f"contraction.integers{8 * self.itemsize}"

    @property
    def library(self) -> str | None:
        """An object of its own, the same for every program."""
        return self.symbol

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        e = entry(module, self.symbol)
        f, size = e.f, self.itemsize
        at = {name: e.pointer(i) if i < 3 else e.number(i) for i, name in enumerate(SLOTS)}
        lanes = target.vector_bytes // size
        slots = f.offset(e.arguments, len(SLOTS), I64)
        with f.loop(e.begin, e.end) as unit:
            row = f.rem(unit.index, at["rows"])
            moved = batch_offsets(f, slots, at["axes"], f.div(unit.index, at["rows"]))
            left, right, result = (
                f.offset(at[name], each) for name, each in zip(SLOTS[:3], moved, strict=True)
            )
            here = dict(at)
            here["left"] = f.offset(left, f.mul(row, at["left_row"]))
            here["right"] = right
            here["result"] = f.offset(result, f.mul(row, at["result_row"]))
            adjacent = f.b.and_(
                f.equal(at["right_column"], size), f.equal(at["result_column"], size)
            )
            whole = f.sub(at["columns"], f.rem(at["columns"], lanes))
            vectors = f.b.select(adjacent, whole, f.number(0))
            with f.loop(0, vectors, lanes) as column:
                self._column(f, here, column.index, lanes)
            with f.loop(vectors, at["columns"]) as column:
                self._column(f, here, column.index, 1)
        f.give(0)

    def _column(self, f: Function, at: dict[str, Value], column: Value, lanes: int) -> None:
        type_ = vector(_WHOLE[self.itemsize], lanes)
        right = f.offset(at["right"], f.mul(column, at["right_column"]))
        with f.loop(0, at["depth"], 1, [f.constant(type_, 0)]) as k:
            factor = f.load(
                f.offset(at["left"], f.mul(k.index, at["left_k"])), _WHOLE[self.itemsize]
            )
            values = f.load(f.offset(right, f.mul(k.index, at["right_k"])), type_)
            k.following[0] = f.b.add(k.carried[0], f.b.mul(f.splat(factor, lanes), values))
        f.store(k.following[0], f.offset(at["result"], f.mul(column, at["result_column"])))
