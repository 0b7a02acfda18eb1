"""The graph of a program without views: nodes that compute, and values that are views of bases.

A *base* is what one node computes (or a port, or a constant), its elements counted from 0. A value
of the program is a map from its indices to places of a base, or one number for all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from bcai.vm.compiler.affine import Affine
from bcai.vm.compiler.plan import row_major
from bcai.vm.isa.attribute import Attribute
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import DType, TensorType


@dataclass(eq=False, slots=True)
class Base:
    """Elements that are computed by one node, or given.

    Attributes
    ----------
    writer
        The node that computes it; None for ports and constants.
    port, data
        Name of the input or parameter; bytes of the constant.
    result
        How the result of an instruction lies in it, and which result of which instruction it is.
    """

    number: int
    dtype: DType
    elements: int
    writer: "Node | None" = None
    port: str = ""
    data: bytes | None = None
    result: Affine | None = None
    origin: tuple[int, int] = (-1, 0)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.elements * self.dtype.itemsize


class Number(NamedTuple):
    """One number, already rounded to its type; in hexadecimal, so that equal ones are the same."""

    text: str
    dtype: DType

    @property
    def value(self) -> float:
        """As a Python float."""
        return float.fromhex(self.text)


class Places(NamedTuple):
    """Stands for the place itself, as int64: element i is i."""

    dtype: DType = DType.int64


PLACES = Places()
Source = Base | Number | Places


class Value(NamedTuple):
    """A tensor: its shape is `map.sizes`."""

    source: Source
    map: Affine

    @property
    def type(self) -> TensorType:
        """Element type and shape."""
        return TensorType(self.source.dtype, self.map.sizes)


@dataclass(eq=False, slots=True)
class LoopNode:
    """An element-by-element instruction, a fold, or (without an `op`) a copy.

    `sizes[:kept]` are counted row-major by the base; the other axes are folded. Operands are maps
    from `sizes`.
    """

    position: int
    op: Op | None
    attributes: Mapping[str, Attribute]
    sizes: tuple[int, ...]
    kept: int
    operands: tuple[Value, ...]
    base: Base

    @property
    def is_fold(self) -> bool:
        """Whether it has folded axes (one of size 1 at least)."""
        return self.kept < len(self.sizes)

    @property
    def result(self) -> Affine:
        """Where the result of each index lies in the base."""
        strides = row_major(self.sizes[: self.kept]) + (0,) * (len(self.sizes) - self.kept)
        return Affine(self.sizes, strides, 0)


@dataclass(eq=False, slots=True)
class OpNode:
    """An instruction that is a task of its own."""

    position: int
    op: Op
    attributes: Mapping[str, Attribute]
    operands: tuple[Value | None, ...]
    results: tuple[Value, ...]


class Part(NamedTuple):
    """What lies in a stretch of a join: `place` maps the source's indices to the join's places."""

    source: Value
    place: Affine


@dataclass(eq=False, slots=True)
class JoinNode:
    """A base that is put together from parts, which do not overlap and cover it.

    `whole` is the shape of the tensor and how it lies in the base; every part's place has its
    strides. A padded one is mostly filled with a number, or made from such.
    """

    position: int
    parts: list[Part]
    base: Base
    whole: Affine
    is_padded: bool = False


Node = LoopNode | OpNode | JoinNode


@dataclass(slots=True)
class Graph:
    """Nodes in the order of the program, and which values come out by name."""

    bases: list[Base] = field(default_factory=list[Base])
    nodes: list[Node] = field(default_factory=list[Node])
    outputs: dict[str, Value] = field(default_factory=dict[str, Value])

    def base(self, dtype: DType, elements: int) -> Base:
        """A new base."""
        self.bases.append(Base(len(self.bases), dtype, elements))
        return self.bases[-1]


def operands_of(node: Node) -> list[Value]:
    """Everything that a node reads, present operands only."""
    if isinstance(node, JoinNode):
        return [part.source for part in node.parts]
    return [each for each in node.operands if each is not None]


def results_of(node: Node) -> list[Base]:
    """Bases that a node computes."""
    if isinstance(node, OpNode):
        return [each.source for each in node.results if isinstance(each.source, Base)]
    return [node.base]
