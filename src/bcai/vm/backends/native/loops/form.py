"""A loop in its canonical form: what decides its machine code, and nothing else.

Note [Form of a loop]
    `outer` axes are walked by loops; `row` axes are folded or, without a fold, are the one axis
    that vectors run along. Axes of size 1 are dropped and neighbours that lie in every view as
    one axis are merged. Memory is known by the number of an argument, so that loops that differ in
    their buffers only share one kernel.
"""

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from bcai.vm.compiler.plan import Apply, Fold, Literal, Place
from bcai.vm.isa.attribute import Attribute
from bcai.vm.isa.types import DType


@dataclass(frozen=True, slots=True)
class Access:
    """How argument `slot` is walked: strides in elements, one an axis of the form."""

    slot: int
    dtype: DType
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """Node: an element of an argument."""

    access: Access


FormNode = Read | Literal | Place | Apply | Fold


@dataclass(frozen=True, slots=True)
class Store:
    """Where a node goes: once for every element, or (`once_a_row`) for every outer index."""

    node: int
    access: Access
    once_a_row: bool


@dataclass(frozen=True, slots=True)
class Form:
    """A loop without buffers.

    Attributes
    ----------
    outer, row
        Sizes of the axes, in this order.
    nodes, stores
        As in a LoopTask; strides are over `outer` and `row`.
    columns
        Whether vectors run along the last outer axis instead of the last row axis.
    tiles
        Whether some operands are contiguous along the last outer axis and are to be transposed.
    partial
        Whether the folds are of single chunks, whose values are stored one after the other; of
        columns, whether they are of single lanes (Note [Lanes as units]).
    """

    outer: tuple[int, ...]
    row: tuple[int, ...]
    nodes: tuple[FormNode, ...]
    stores: tuple[Store, ...]
    columns: bool = False
    tiles: bool = False
    partial: bool = False

    @property
    def folds(self) -> bool:
        """Whether anything is folded."""
        return any(isinstance(each, Fold) for each in self.nodes)

    @property
    def accesses(self) -> tuple[Access, ...]:
        """What is read and written, by slot."""
        reads = (each.access for each in self.nodes if isinstance(each, Read))
        found = {each.slot: each for each in (*reads, *(each.access for each in self.stores))}
        return tuple(found[slot] for slot in sorted(found))

    @property
    def vector_axis(self) -> int:
        """The axis that vectors run along."""
        return len(self.outer) - 1 if self.columns else len(self.outer) + len(self.row) - 1

    @property
    def vector_size(self) -> int:
        """Size of that axis."""
        return (*self.outer, *self.row)[self.vector_axis]

    @property
    def walked(self) -> tuple[int, ...]:
        """Outer axes without the last one, if that is done in blocks."""
        return self.outer[:-1] if self.columns or self.tiles else self.outer

    @property
    def block_size(self) -> int:
        """Size of the axis that is done in blocks."""
        if self.partial and not self.columns:
            return math.prod(self.row)
        return self.outer[-1] if self.columns or self.tiles else self.row[-1]

    def dtype(self, number: int) -> DType:
        """Element type of a node."""
        node = self.nodes[number]
        if isinstance(node, Read):
            return node.access.dtype
        return DType.int64 if isinstance(node, Place) else node.dtype

    @property
    def symbol(self) -> str:
        """Name of the kernel: a hash of everything here."""
        lines = [str((self.outer, self.row, self.columns, self.tiles, self.partial))]
        lines += [_text(each) for each in self.nodes]
        lines += [f"{each.node} {each.once_a_row} {_access(each.access)}" for each in self.stores]
        return f"loop_{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:24]}"


def _text(node: FormNode) -> str:
    match node:
        case Read(access):
            return f"read {_access(access)}"
        case Literal(value, dtype):
            return f"literal {_value(value)} {dtype.name}"
        case Place(strides, offset):
            return f"place {strides} {offset}"
        case Apply(op, operands, attributes, dtype):
            return f"{op.name} {op.opcode} {operands} {_attributes(attributes)} {dtype.name}"
        case Fold(op, operand, dtype):
            return f"fold {op.name} {operand} {dtype.name}"


def _access(access: Access) -> str:
    return f"{access.slot} {access.dtype.name} {access.strides}"


def _attributes(attributes: Mapping[str, Attribute]) -> str:
    return " ".join(f"{name}={_value(attributes[name])}" for name in sorted(attributes))


def _value(value: Attribute) -> str:
    """Text of an attribute with every bit of its floats."""
    if isinstance(value, tuple):
        return f"({','.join(_value(each) for each in value)})"
    if isinstance(value, float):
        return struct.pack(">d", value).hex()
    return repr(value)
