"""Loop nodes from instructions: axes that do not count dropped, the others ordered and joined."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bcai.vm.compiler.affine import Affine, coalesced, dense
from bcai.vm.compiler.base_orders import Hints, as_they_lie
from bcai.vm.compiler.graph import Base, Graph, LoopNode, Value
from bcai.vm.compiler.plan import row_major
from bcai.vm.isa.attribute import Attribute
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import TensorType


@dataclass(frozen=True, slots=True)
class Place:
    """The instruction that is being written: its own position, and that of the given program."""

    position: int
    origin: int


@dataclass(frozen=True, slots=True)
class LoopNodes:
    """Adds loop nodes to a graph."""

    graph: Graph
    hints: Hints

    def apply(
        self,
        at: Place,
        op: Op | None,
        attributes: Mapping[str, Attribute],
        inputs: Sequence[Value],
        type_: TensorType,
        *,
        part: bool = False,
    ) -> Value:
        """An element-by-element node over the axes along which anything changes.

        Without an `op` it is a copy, which changes along every axis. A `part` of a result does not
        take the hint for the whole.
        """
        shape = type_.shape
        if not type_.elements:
            return Value(self.graph.base(type_.dtype, 0), dense(shape))
        rows = [each.map.strides for each in inputs]
        moving = [
            axis
            for axis, size in enumerate(shape)
            if size != 1 and (op is None or any(row[axis] for row in rows))
        ]
        hint = None if part else self.hints.get((at.position, 0))
        if hint is not None:
            moving.sort(key=lambda axis: -hint[axis])
        elif op is not None:
            moving = as_they_lie(shape, rows, moving)
        sizes = tuple(shape[axis] for axis in moving)
        counted = row_major(sizes)
        strides = dict(zip(moving, counted, strict=True))
        base = self.graph.base(type_.dtype, math.prod(sizes))
        result = Affine(shape, tuple(strides.get(axis, 0) for axis in range(len(shape))), 0)
        if op is not None and not part:
            base.result, base.origin = result, (at.position, 0)
        chosen = [[row[axis] for axis in moving] for row in rows]
        merged, new_rows = coalesced(sizes, [*chosen, counted])
        whole = tuple(merged)
        operands = tuple(
            Value(each.source, Affine(whole, tuple(row), each.map.offset))
            for each, row in zip(inputs, new_rows, strict=False)
        )
        self._add(LoopNode(at.origin, op, attributes, whole, len(whole), operands, base))
        return Value(base, result)

    def fold(
        self,
        at: Place,
        op: Op,
        axes: Sequence[int],
        x: Value,
        type_: TensorType,
        *,
        part: bool = False,
    ) -> Value:
        """A fold of a value with elements over `axes`, ascending; a `part` as in `apply`."""
        shape, strides, rank = x.map.sizes, x.map.strides, len(x.map.sizes)
        kept = [axis for axis in range(rank) if axis not in axes]
        # Axes of the result, by axis of the operand; they are all there if dimensions are kept.
        there = range(rank) if type_.rank == rank else kept
        given = {axis: place for place, axis in enumerate(there)}
        moving = [axis for axis in kept if shape[axis] != 1 and strides[axis]]
        hint = None if part else self.hints.get((at.position, 0))
        if hint is None:
            moving = as_they_lie(shape, [strides], moving)
        else:
            moving.sort(key=lambda axis: -hint[given[axis]])
        sizes = tuple(shape[axis] for axis in moving)
        counted = row_major(sizes)
        laid = [0] * type_.rank
        for axis, stride in zip(moving, counted, strict=True):
            laid[given[axis]] = stride
        base = self.graph.base(type_.dtype, math.prod(sizes))
        result = Affine(type_.shape, tuple(laid), 0)
        if not part:
            base.result, base.origin = result, (at.position, 0)
        outer, rows = coalesced(sizes, [[strides[axis] for axis in moving], counted])
        inner, (row,) = coalesced(
            [shape[axis] for axis in axes], [[strides[axis] for axis in axes]]
        )
        if not inner:
            inner, row = [1], [0]
        map_ = Affine((*outer, *inner), (*rows[0], *row), x.map.offset)
        operands = (Value(x.source, map_),)
        self._add(LoopNode(at.origin, op, {}, map_.sizes, len(outer), operands, base))
        return Value(base, result)

    def copy(self, at: Place, x: Value, shape: tuple[int, ...]) -> Value:
        """The elements of a value in row-major order, in a base of their own."""
        type_ = TensorType(x.source.dtype, x.map.sizes)
        return Value(self.apply(at, None, {}, [x], type_).source, dense(shape))

    def _add(self, node: LoopNode) -> None:
        node.base.writer = node
        self.graph.nodes.append(node)


def is_handed_out(value: Value) -> bool:
    """Whether a value is row-major in one stretch of memory that may be an output."""
    source, map_ = value.source, value.map
    if not isinstance(source, Base):
        return False
    if map_.elements and not Affine(map_.sizes, map_.strides, 0).is_row_major:
        return False
    given = source.writer is None and (bool(source.port) or source.data is not None)
    return given or (map_.offset == 0 and map_.elements == source.elements)
