"""From primitives to a graph: views resolved, like instructions merged, axes put in order.

Note [Order of a base]
    The elements of a base may be counted in any order of its axes. An element-by-element result
    takes that of its largest operand, so that both are walked through as they lie in memory. What
    must be row-major in the end (an output, or a reshape of a permutation) asks for its order:
    the graph is built once to learn what is asked for, and once more to grant it.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from bcai.base.errors import InputError
from bcai.vm.compiler.affine import (
    Affine,
    coalesced,
    dense,
    expanded,
    is_bijective,
    joined,
)
from bcai.vm.compiler.graph import (
    PLACES,
    Base,
    Graph,
    JoinNode,
    LoopNode,
    Node,
    Number,
    OpNode,
    Part,
    Source,
    Value,
)
from bcai.vm.compiler.plan import row_major
from bcai.vm.compiler.views import VIEWS, view_of
from bcai.vm.isa.attribute import Attribute
from bcai.vm.isa.op import Op
from bcai.vm.isa.ops.memory import convert
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.program.program import Instruction, VerifiedProgram

Elementwise = Callable[[Op, tuple[DType, ...]], bool]
Hints = Mapping[tuple[int, int], tuple[int, ...]]
"""Strides that the result of an instruction shall have in its base."""

FOLDS = frozenset({"Sum", "Prod", "ReduceMax", "ReduceMin"})
_GROUPS = frozenset({"elementwise", "transcendental", "comparison", "logic"})
_PLACED = frozenset({"Arange", "Philox", "Uniform", "RandomInt", "OneHot", "Tril", "Triu"})
_WHOLE_MAX = 1 << 53
"""Whole numbers above are not all floats."""


def used_instructions(verified: VerifiedProgram) -> set[int]:
    """Positions of the instructions that outputs depend on."""
    program = verified.program
    live, used = {value for _, value in program.outputs}, set[int]()
    ends = (*verified.first_result[1:], len(verified.types))
    for position in range(len(program.instructions) - 1, -1, -1):
        first = verified.first_result[position]
        if any(each in live for each in range(first, ends[position])):
            used.add(position)
            operands = program.instructions[position].operands
            live.update(each for each in operands if each is not None)
    return used


class GraphBuilder:
    """Builds the graph of a program of primitives."""

    def __init__(
        self, verified: VerifiedProgram, elementwise: Elementwise, origins: Sequence[int]
    ) -> None:
        self._verified = verified
        self._elementwise = elementwise
        self._origins = origins
        self._used = used_instructions(verified)

    def build(self, hints: Hints) -> Graph:
        """The graph, with the results that have a hint laid as it says."""
        self._hints = hints
        self._graph = Graph()
        self._seen: dict[Hashable, tuple[Value, ...]] = {}
        self._above_zero: dict[Value, Value] = {}
        program, values = self._verified.program, list[Value | None]()
        for port in program.ports:
            base = self._graph.base(port.type.dtype, port.type.elements)
            base.port = port.name
            values.append(Value(base, dense(port.type.shape)))
        ends = (*self._verified.first_result[1:], len(self._verified.types))
        for position, instruction in enumerate(program.instructions):
            first, end = self._verified.first_result[position], ends[position]
            if position not in self._used:
                values += [None] * (end - first)
                continue
            operands = [None if each is None else values[each] for each in instruction.operands]
            types = self._verified.types[first:end]
            values += self._results(position, instruction, operands, types)
        for name, value in program.outputs:
            found = values[value]
            assert found is not None
            self._graph.outputs[name] = self._output(len(program.instructions), found)
        return self._graph

    def _results(
        self,
        position: int,
        instruction: Instruction,
        operands: Sequence[Value | None],
        types: Sequence[TensorType],
    ) -> tuple[Value, ...]:
        op, attributes = instruction.op, instruction.attributes
        if not op.pure:
            return self._op(position, op, attributes, operands, types)
        exact = tuple((type(each), repr(each)) for each in attributes.values())
        key = (op.opcode, tuple(operands), exact)
        if key not in self._seen:
            self._seen[key] = self._write(position, op, attributes, operands, types)
        return self._seen[key]

    def _write(
        self,
        position: int,
        op: Op,
        attributes: Mapping[str, Any],
        operands: Sequence[Value | None],
        types: Sequence[TensorType],
    ) -> tuple[Value, ...]:
        present = [each for each in operands if each is not None]
        if op.name in VIEWS:
            found = view_of(op.name, present[0], attributes)
            return found or (self._copied(position, present[0], types[0].shape),)
        if op.name in ("Const", "Full"):
            return (self._constant(op, attributes, types[0]),)
        if op.name == "Concat":
            return (self._concat(position, present, attributes["axis"], types[0]),)
        if op.name == "Pad":
            return (self._pad(position, present[0], attributes, types[0]),)
        same = _identity(op, present, types[0])
        if same is not None:
            return (same,)
        if op.name in FOLDS:
            return (self._fold(position, op, attributes, present[0], types[0]),)
        dtypes = (*(each.source.dtype for each in present), types[0].dtype)
        if self._stands_in_loops(op) and self._elementwise(op, dtypes):
            return (self._apply(position, op, attributes, present, types[0]),)
        return self._op(position, op, attributes, operands, types)

    @staticmethod
    def _stands_in_loops(op: Op) -> bool:
        return op.group in _GROUPS or op.name == "Cast" or op.name in _PLACED

    def _constant(self, op: Op, attributes: Mapping[str, Any], type_: TensorType) -> Value:
        if op.name == "Full":
            number = convert(np.asarray(attributes["value"], np.float64), type_.dtype)
            return self._repeated(number, type_)
        array: Array = np.frombuffer(attributes["data"], type_.dtype.numpy)
        item = type_.dtype.itemsize
        data: bytes = attributes["data"]
        if array.size and data == data[:item] * array.size:
            return self._repeated(array[0], type_)
        base = self._graph.base(type_.dtype, type_.elements)
        base.data = data
        return Value(base, dense(type_.shape))

    def _repeated(self, number: Any, type_: TensorType) -> Value:
        """A number everywhere: as such, or as a constant of one element if no float is it."""
        nowhere = Affine(type_.shape, (0,) * type_.rank, 0)
        if type_.dtype.is_float or abs(int(number)) < _WHOLE_MAX:
            return Value(Number(float(number).hex(), type_.dtype), nowhere)
        base = self._graph.base(type_.dtype, 1)
        base.data = np.asarray(number, type_.dtype.numpy).tobytes()
        return Value(base, nowhere)

    def _op(
        self,
        position: int,
        op: Op,
        attributes: Mapping[str, Attribute],
        operands: Sequence[Value | None],
        types: Sequence[TensorType],
    ) -> tuple[Value, ...]:
        results: list[Value] = []
        for index, type_ in enumerate(types):
            base = self._graph.base(type_.dtype, type_.elements)
            strides = self._hints.get((position, index), row_major(type_.shape))
            base.result = Affine(type_.shape, strides, 0)
            base.origin = (position, index)
            results.append(Value(base, base.result))
        place = self._origins[position]
        node = OpNode(place, op, attributes, tuple(operands), tuple(results))
        for each in results:
            if isinstance(each.source, Base):
                each.source.writer = node
        self._graph.nodes.append(node)
        return tuple(results)

    def _apply(
        self,
        position: int,
        op: Op,
        attributes: Mapping[str, Attribute],
        operands: Sequence[Value],
        type_: TensorType,
    ) -> Value:
        shape = type_.shape
        if op.name == "OneHot":
            index = operands[0].map
            spread = Affine(shape, (*index.strides, 0), index.offset)
            inputs = [Value(operands[0].source, spread)]
        else:
            inputs = [Value(each.source, expanded(each.map, shape)) for each in operands]
        if op.name in _PLACED:
            inputs += [Value(PLACES, each) for each in _places(op.name, shape)]
        elif all(isinstance(each.source, Number) for each in inputs) and type_.elements:
            folded = self._computed(op, attributes, inputs, type_)
            if folded is not None:
                return folded
        if op.name == "Greater" and inputs[1].source in _ZEROS:
            inputs[0] = self._above_zero.get(inputs[0], inputs[0])
        result = self._loop(position, op, attributes, inputs, type_)
        if op.name == "Max" and inputs[1].source in _ZEROS:
            self._above_zero[inputs[0]] = result  # Max(x, 0) > 0 where x > 0, and it is kept anyway
        return result

    def _computed(
        self,
        op: Op,
        attributes: Mapping[str, Attribute],
        operands: Sequence[Value],
        type_: TensorType,
    ) -> Value | None:
        """The result of an instruction on numbers, computed here by its definition."""
        numbers: list[Array] = []
        for each in operands:
            assert isinstance(each.source, Number)
            numbers.append(np.asarray(each.source.value).astype(each.source.dtype.numpy))
        try:
            with np.errstate(all="ignore"):
                found = np.asarray(op.body(*numbers, **attributes))
        except InputError:
            return None  # it is for the run to say so
        if not type_.dtype.is_float and abs(int(found)) >= _WHOLE_MAX:
            return None
        return self._repeated(found[()], type_)

    def _loop(
        self,
        position: int,
        op: Op | None,
        attributes: Mapping[str, Attribute],
        inputs: Sequence[Value],
        type_: TensorType,
    ) -> Value:
        """An element-by-element node over the axes along which anything changes."""
        shape = type_.shape
        if not type_.elements:
            return Value(self._graph.base(type_.dtype, 0), dense(shape))
        rows = [each.map.strides for each in inputs]
        moving = [
            axis
            for axis, size in enumerate(shape)
            if size != 1 and (op is None or any(row[axis] for row in rows))
        ]
        hint = self._hints.get((position, 0))
        if hint is not None and sorted(moving, key=lambda axis: -hint[axis]) != moving:
            moving.sort(key=lambda axis: -hint[axis])
        elif hint is None and op is not None:
            moving = _as_they_lie(shape, rows, moving)
        sizes = tuple(shape[axis] for axis in moving)
        strides = dict(zip(moving, row_major(sizes), strict=True))
        base = self._graph.base(type_.dtype, math.prod(sizes))
        base.result = Affine(shape, tuple(strides.get(axis, 0) for axis in range(len(shape))), 0)
        base.origin = (position, 0)
        chosen = [[row[axis] for axis in moving] for row in rows]
        merged, new_rows = coalesced(sizes, [*chosen, row_major(sizes)])
        operands = tuple(
            Value(each.source, Affine(tuple(merged), tuple(row), each.map.offset))
            for each, row in zip(inputs, new_rows, strict=False)
        )
        self._add_loop(position, op, attributes, tuple(merged), len(merged), operands, base)
        return Value(base, base.result)

    def _add_loop(
        self,
        position: int,
        op: Op | None,
        attributes: Mapping[str, Attribute],
        sizes: tuple[int, ...],
        kept: int,
        operands: tuple[Value, ...],
        base: Base,
    ) -> None:
        place = self._origins[min(position, len(self._origins) - 1)] if self._origins else 0
        base.writer = LoopNode(place, op, attributes, sizes, kept, operands, base)
        self._graph.nodes.append(base.writer)

    def _fold(
        self, position: int, op: Op, attributes: Mapping[str, Any], x: Value, type_: TensorType
    ) -> Value:
        if not type_.elements:
            return Value(self._graph.base(type_.dtype, 0), dense(type_.shape))
        if not x.map.elements:  # of nothing: 0, or 1
            return self._repeated(type_.dtype.numpy.type(op.name == "Prod"), type_)
        shape, strides, rank = x.map.sizes, x.map.strides, len(x.map.sizes)
        folded = sorted(axis % rank for axis in attributes["axes"]) if rank else []
        kept = [axis for axis in range(rank) if axis not in folded]
        moving = [axis for axis in kept if shape[axis] != 1 and strides[axis]]
        hint = self._hints.get((position, 0))
        # Axes of the result, by axis of the operand.
        given = {axis: place for place, axis in enumerate(range(rank) if attributes["keepdims"]
                                                          else kept)}  # fmt: skip
        if hint is None:
            moving = _as_they_lie(shape, [strides], moving)
        else:
            moving.sort(key=lambda axis: -hint[given[axis]])
        sizes = tuple(shape[axis] for axis in moving)
        counted = dict(zip(moving, row_major(sizes), strict=True))
        base = self._graph.base(type_.dtype, math.prod(sizes))
        laid = [0] * type_.rank
        for axis, stride in counted.items():
            laid[given[axis]] = stride
        base.result, base.origin = Affine(type_.shape, tuple(laid), 0), (position, 0)
        outer, rows = coalesced(sizes, [[strides[axis] for axis in moving], row_major(sizes)])
        inner, (row,) = coalesced(
            [shape[axis] for axis in folded], [[strides[axis] for axis in folded]]
        )
        if not inner:
            inner, row = [1], [0]
        map_ = Affine((*outer, *inner), (*rows[0], *row), x.map.offset)
        operands = (Value(x.source, map_),)
        self._add_loop(position, op, attributes, map_.sizes, len(outer), operands, base)
        return Value(base, base.result)

    def _copied(self, position: int, x: Value, shape: tuple[int, ...]) -> Value:
        """The elements of a value in row-major order, in a base of their own."""
        type_ = TensorType(x.source.dtype, x.map.sizes)
        if not type_.elements:
            return Value(self._graph.base(type_.dtype, 0), dense(shape))
        copy = self._loop(position, None, {}, [x], type_)
        assert isinstance(copy.source, Base)
        copy.source.result = None
        return Value(copy.source, dense(shape))

    def _concat(self, position: int, parts: Sequence[Value], axis: int, type_: TensorType) -> Value:
        full = [each for each in parts if each.map.elements]
        if len(full) <= 1:
            return full[0] if full else Value(self._graph.base(type_.dtype, 0), dense(type_.shape))
        plain, start, strides = axis % type_.rank, 0, row_major(type_.shape)
        placed: list[Part] = []
        for each in full:
            placed.append(Part(each, Affine(each.map.sizes, strides, start * strides[plain])))
            start += each.map.sizes[plain]
        return self._join(position, placed, type_)

    def _pad(
        self, position: int, x: Value, attributes: Mapping[str, Any], type_: TensorType
    ) -> Value:
        if x.map.sizes == type_.shape:
            return x
        number = convert(np.asarray(attributes["value"], np.float64), type_.dtype)
        filled = self._repeated(number, type_)
        if not x.map.elements:
            return filled
        before, strides = attributes["before"], row_major(type_.shape)
        start = sum(b * s for b, s in zip(before, strides, strict=True))
        placed = [Part(x, Affine(x.map.sizes, strides, start))]
        # Slabs: axis by axis, all of the later axes and the middle of the earlier ones.
        low = [0] * type_.rank
        sizes = list(type_.shape)
        for axis, (lead, middle) in enumerate(zip(before, x.map.sizes, strict=True)):
            for first, size in ((0, lead), (lead + middle, sizes[axis] - lead - middle)):
                if size:
                    slab = (*sizes[:axis], size, *sizes[axis + 1 :])
                    at = sum(b * s for b, s in zip(low, strides, strict=True))
                    place = Affine(slab, strides, at + first * strides[axis])
                    nowhere = Affine(slab, (0,) * len(slab), filled.map.offset)
                    placed.append(Part(Value(filled.source, nowhere), place))
            low[axis], sizes[axis] = lead, middle
        return self._join(position, placed, type_)

    def _join(self, position: int, parts: list[Part], type_: TensorType) -> Value:
        base = self._graph.base(type_.dtype, type_.elements)
        base.writer = JoinNode(self._origins[position], parts, base)
        self._graph.nodes.append(base.writer)
        return Value(base, dense(type_.shape))

    def _output(self, position: int, value: Value) -> Value:
        """A value that can be handed out: row-major in one stretch of memory."""
        source, map_ = value.source, value.map
        elements = map_.elements
        if isinstance(source, Base) and (
            not elements or Affine(map_.sizes, map_.strides, 0).is_row_major
        ):
            given = source.writer is None
            if given or (map_.offset == 0 and elements == source.elements):
                return value
        key = ("output", value)
        if key not in self._seen:
            self._seen[key] = (self._copied(position, value, map_.sizes),)
        return self._seen[key][0]


_ZEROS = frozenset(Number(text, each) for text in ("0x0.0p+0", "-0x0.0p+0") for each in DType)


def _places(name: str, shape: tuple[int, ...]) -> list[Affine]:
    """The places that an instruction depends on."""
    none = (0,) * len(shape)
    if name == "OneHot":
        return [Affine(shape, (*none[1:], 1), 0)]
    if name in ("Tril", "Triu"):
        return [Affine(shape, (*none[2:], 1, 0), 0), Affine(shape, (*none[2:], 0, 1), 0)]
    return [dense(shape)]


def _identity(op: Op, operands: Sequence[Value], type_: TensorType) -> Value | None:
    """The operand that an instruction gives back as it is, to the bit."""
    first = operands[0] if operands else None
    if first is None or first.type != type_:
        return None
    if op.name == "Cast":
        return first
    if op.name not in ("Mul", "Div", "Sub") or not isinstance(operands[1].source, Number):
        return None
    neutral = "0x0.0p+0" if op.name == "Sub" else "0x1.0000000000000p+0"
    return first if operands[1].source.text == neutral else None


def _as_they_lie(shape: Sequence[int], rows: Sequence[Sequence[int]], axes: list[int]) -> list[int]:
    """Axes in the order in which the largest operand lies, then the next; else as they are."""
    if len(axes) < 2:
        return axes
    weights = [math.prod(shape[axis] for axis in axes if row[axis]) for row in rows]
    ranked = [rows[place] for place in sorted(range(len(rows)), key=lambda place: -weights[place])]
    found: list[int] = []
    for axis in axes:
        place = len(found)
        for before in reversed(range(len(found))):
            row = next((each for each in ranked if each[axis] and each[found[before]]), None)
            if row is None or abs(row[found[before]]) >= abs(row[axis]):
                if row is not None:
                    break
                continue
            place = before
        found.insert(place, axis)
    return found


def requests(graph: Graph) -> dict[tuple[int, int], tuple[int, ...]]:
    """Orders of bases that would save a copy: outputs first, then reshapes."""
    found: dict[tuple[int, int], tuple[int, ...]] = {}
    copies = [node for node in graph.nodes if isinstance(node, LoopNode) and node.op is None]
    asked = {id(each.source) for each in graph.outputs.values()}
    for node in sorted(copies, key=lambda each: id(each.base) not in asked):
        source, map_ = node.operands[0]
        if not isinstance(source, Base) or source.result is None or source.origin in found:
            continue
        strides = _order(source, source.result, map_)
        if strides is not None:
            found[source.origin] = strides
    return found


def _order(source: Base, result: Affine, wanted: Affine) -> tuple[int, ...] | None:
    """Strides of the result in a base whose order is the row-major one of `wanted`."""
    if not is_bijective(wanted, source.elements):
        return None
    axes = sorted(range(len(wanted.sizes)), key=lambda axis: -wanted.strides[axis])
    counted = row_major(wanted.sizes)
    inner = Affine(
        tuple(wanted.sizes[axis] for axis in axes), tuple(counted[axis] for axis in axes), 0
    )
    moved = joined(result, inner)
    return None if moved is None else moved.strides


def copied_bases(graph: Graph) -> dict[tuple[int, int], int]:
    """How many elements of each instruction's result are copied."""
    found: dict[tuple[int, int], int] = {}
    for node in graph.nodes:
        if isinstance(node, LoopNode) and node.op is None:
            source: Source = node.operands[0].source
            if isinstance(source, Base):
                found[source.origin] = found.get(source.origin, 0) + node.base.elements
    return found
