"""What a program becomes before a backend sees it: buffers, and tasks over views of them, in order.

A Plan has no views left as instructions, no macros but those that a backend has code for, and as
few passes over memory as fusion allows. It says nothing about a device.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from bcai.vm.isa.attribute import Attribute
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import DType, TensorType


class Role(Enum):
    """Who owns a buffer's memory, and for how long."""

    INPUT = "input"
    """The caller, for one run; it is only read. `name` is the port's."""
    CONSTANT = "constant"
    """The program: `data`, written once."""
    OUTPUT = "output"
    """Handed to the caller after the run."""
    TEMPORARY = "temporary"
    """The arena, from the first task that writes it to the last one that reads it."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """A stretch of memory that holds one or more values."""

    number: int
    nbytes: int
    role: Role
    name: str = ""
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class View:
    """A tensor in a buffer: element (i, j, ...) lies at `offset + i * strides[0] + ...`.

    Strides and offset count elements. A stride may be 0 (broadcast) or negative (flipped).
    """

    buffer: int
    type: TensorType
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie one after the other, row-major."""
        return self.strides == row_major(self.type.shape) or self.type.elements <= 1


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of elements that lie one after the other."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


@dataclass(frozen=True, slots=True)
class Load:
    """Node: an element of a view. The view has the loop's rank and sizes; stride 0 broadcasts."""

    view: View


@dataclass(frozen=True, slots=True)
class Literal:
    """Node: one number, already rounded to its type (`Full` has converted it)."""

    value: float
    dtype: DType


@dataclass(frozen=True, slots=True)
class Place:
    """Node: `offset + i * strides[0] + ...` of the loop's indices, as int64."""

    strides: tuple[int, ...]
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Apply:
    """Node: an element-by-element instruction on earlier nodes, rounded to `dtype`."""

    op: Op
    operands: tuple[int, ...]
    attributes: Mapping[str, Attribute]
    dtype: DType


@dataclass(frozen=True, slots=True)
class Fold:
    """Node: a reduction (`Sum`, `Prod`, `ReduceMax`, `ReduceMin`) over all folded axes of a loop.

    Its value belongs to the kept axes; used beside whole nodes it is the same along folded ones.
    """

    op: Op
    operand: int
    dtype: DType


Node = Load | Literal | Place | Apply | Fold


@dataclass(frozen=True, slots=True)
class LoopTask:
    """Computes every node for every index of a loop, and stores some of them.

    `shape[:kept]` are the kept axes, the others are folded, flattened row-major (Note [Order of a
    sum]); without a Fold all axes are kept. A node *belongs to the kept axes* if it is a Fold, a
    Literal, a Load or Place with stride 0 along every folded axis, or applies to such nodes only. A
    store's view has the loop's rank; of a node that belongs to the kept axes it has size 1 along
    folded ones.
    """

    shape: tuple[int, ...]
    kept: int
    nodes: tuple[Node, ...]
    stores: tuple[tuple[int, View], ...]
    position: int
    """The last instruction that it does; earlier ones may be in it too."""


@dataclass(frozen=True, slots=True)
class OpTask:
    """One instruction on views: contractions, convolutions, pools, gathers, scatters, sorts."""

    op: Op
    attributes: Mapping[str, Attribute]
    operands: tuple[View | None, ...]
    results: tuple[View, ...]
    position: int


Task = LoopTask | OpTask


@dataclass(frozen=True, slots=True)
class Plan:
    """Tasks in an order in which they may run.

    `outputs` are the program's, by name: each is a contiguous view of an OUTPUT, INPUT or CONSTANT
    buffer.
    """

    buffers: tuple[Buffer, ...]
    tasks: tuple[Task, ...]
    outputs: Mapping[str, View]
    kept: Mapping[int, View] = field(default_factory=dict[int, View])
    """Values of the program that were asked for, by number; as `outputs`."""


def reads(task: Task) -> set[int]:
    """Buffers that a task reads."""
    if isinstance(task, OpTask):
        return {view.buffer for view in task.operands if view is not None}
    return {node.view.buffer for node in task.nodes if isinstance(node, Load)}


def writes(task: Task) -> set[int]:
    """Buffers that a task writes."""
    if isinstance(task, OpTask):
        return {view.buffer for view in task.results}
    return {view.buffer for _, view in task.stores}
