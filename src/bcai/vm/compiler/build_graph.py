"""From primitives to a graph: views resolved, like instructions merged, axes put in order."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from bcai.vm.compiler.affine import Affine, along, dense, expanded, permuted, reshaped
from bcai.vm.compiler.base_orders import Hints
from bcai.vm.compiler.constants import ZEROS, computed, constant, identity, repeated
from bcai.vm.compiler.graph import (
    PLACES,
    Base,
    Graph,
    JoinNode,
    Node,
    Number,
    OpNode,
    Part,
    Value,
    operands_of,
)
from bcai.vm.compiler.joins import concat_parts, pad_parts, read_through, regions, stretch
from bcai.vm.compiler.loop_nodes import LoopNodes, Place, is_handed_out
from bcai.vm.compiler.plan import row_major
from bcai.vm.compiler.scatter_once import ScatterOnce
from bcai.vm.compiler.simplify import used_instructions
from bcai.vm.compiler.views import VIEWS, view_of
from bcai.vm.isa.attribute import Attribute
from bcai.vm.isa.op import Op
from bcai.vm.isa.ops.memory import convert
from bcai.vm.isa.order import CHUNK
from bcai.vm.isa.types import DType, TensorType
from bcai.vm.isa.versions import instruction_set
from bcai.vm.isa.widened import NARROW
from bcai.vm.program.program import Instruction, VerifiedProgram

Elementwise = Callable[[Op, tuple[DType, ...]], bool]
"""Whether an instruction may stand in a loop: on operands, and with a result, of these types."""

FOLDS = frozenset({"Sum", "Prod", "ReduceMax", "ReduceMin"})
_GROUPS = frozenset({"elementwise", "transcendental", "comparison", "logic"})
_PLACED = frozenset({"Arange", "Philox", "Uniform", "RandomInt", "OneHot", "Tril", "Triu"})

_TOTAL = frozenset({"contract", "conv", "pool", "scan"})
"""Groups of instructions that cannot fail."""

ROWS_MIN = 8
"""With fewer results a fold is shared out by chunks, else by results."""
CHUNKS_MIN = 8
"""Of a fold that is worth it."""


class GraphBuilder:
    """Builds the graph of a program of primitives.

    `origins` has, for each of its instructions, the one of the given program it comes from.
    """

    def __init__(
        self, verified: VerifiedProgram, elementwise: Elementwise, origins: Sequence[int]
    ) -> None:
        self._verified = verified
        self._elementwise = elementwise
        self._origins = (*origins, origins[-1] if origins else 0)
        self._used = used_instructions(verified)

    def build(self, hints: Hints) -> Graph:
        """The graph, with the results that have a hint laid as it says."""
        program, values = self._verified.program, list[Value | None]()
        self._hints = hints
        self._graph = Graph()
        self._loops = LoopNodes(self._graph, hints)
        by_name = instruction_set(program.isa_version).by_name
        self._scatters = ScatterOnce(self._loops, by_name, self._elementwise)
        self._seen: dict[Hashable, tuple[Value, ...]] = {}
        self._above_zero: dict[Value, Value] = {}
        for port in program.ports:
            base = self._graph.base(port.type.dtype, port.type.elements)
            base.port = port.name
            values.append(Value(base, dense(port.type.shape)))
        for position, (instruction, results) in enumerate(
            zip(program.instructions, self._verified.results, strict=True)
        ):
            if position not in self._used:
                values += [None] * len(results)
                continue
            operands = [None if each is None else values[each] for each in instruction.operands]
            types = self._verified.types[results.start : results.stop]
            values += self._results(self._place(position), instruction, operands, types)
        end = self._place(len(program.instructions))
        for name, value in program.outputs:
            found = values[value]
            assert found is not None
            self._graph.outputs[name] = self._output(end, found)
        self._graph.nodes = _needed(self._graph)
        return self._graph

    def _place(self, position: int) -> Place:
        return Place(position, self._origins[position])

    def _results(
        self,
        at: Place,
        instruction: Instruction,
        operands: Sequence[Value | None],
        types: Sequence[TensorType],
    ) -> tuple[Value, ...]:
        op, attributes = instruction.op, instruction.attributes
        if not op.pure:
            return self._op(at, op, attributes, operands, types)
        exact = tuple((type(each), repr(each)) for each in attributes.values())
        key = (op.opcode, tuple(operands), exact)
        if key not in self._seen:
            self._seen[key] = self._write(at, op, attributes, operands, types)
        return self._seen[key]

    def _write(
        self,
        at: Place,
        op: Op,
        attributes: Mapping[str, Any],
        operands: Sequence[Value | None],
        types: Sequence[TensorType],
    ) -> tuple[Value, ...]:
        present = [each for each in operands if each is not None]
        if op.name in VIEWS:
            found = view_of(op.name, present[0], attributes)
            if found is None:
                return (self._loops.copy(at, present[0], types[0].shape),)
            return tuple(read_through(each) for each in found)
        if op.name in ("Const", "Full"):
            return (constant(self._graph, op, attributes, types[0]),)
        if op.name == "Concat":
            return (self._concat(at, present, attributes["axis"], types[0]),)
        if op.name == "Pad":
            return (self._pad(at, present[0], attributes, types[0]),)
        same = identity(op, present, types[0])
        if same is not None:
            return (same,)
        if op.name in FOLDS:
            return (self._fold(at, op, attributes["axes"], present[0], types[0]),)
        dtypes = (*(each.source.dtype for each in present), types[0].dtype)
        if _stands_in_loops(op) and self._elementwise(op, dtypes):
            return (self._apply(at, op, attributes, present, types[0]),)
        once = self._scatters.result(at, op, attributes, present)
        return (once,) if once else self._op(at, op, attributes, operands, types)

    def _op(
        self,
        at: Place,
        op: Op,
        attributes: Mapping[str, Attribute],
        operands: Sequence[Value | None],
        types: Sequence[TensorType],
    ) -> tuple[Value, ...]:
        results: list[Value] = []
        for index, type_ in enumerate(types):
            base = self._base(type_, (at.position, index))
            assert base.result is not None
            results.append(Value(base, base.result))
        node = OpNode(at.origin, op, attributes, tuple(operands), tuple(results))
        for each in results:
            if isinstance(each.source, Base):
                each.source.writer = node
        self._graph.nodes.append(node)
        return tuple(results)

    def _base(self, type_: TensorType, origin: tuple[int, int]) -> Base:
        """A base for a whole result, in the order that was asked for."""
        base = self._graph.base(type_.dtype, type_.elements)
        strides = self._hints.get(origin, row_major(type_.shape))
        base.result, base.origin = Affine(type_.shape, strides, 0), origin
        return base

    def _apply(
        self,
        at: Place,
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
        if op.name == "Greater" and inputs[1].source in ZEROS:
            inputs[0] = self._above_zero.get(inputs[0], inputs[0])
        result = self._by_regions(at, op, attributes, inputs, type_)
        if op.name == "Max" and inputs[1].source in ZEROS:
            self._above_zero[inputs[0]] = result  # Max(x, 0) > 0 where x > 0, and it is kept anyway
        return result

    def _by_regions(
        self,
        at: Place,
        op: Op,
        attributes: Mapping[str, Attribute],
        inputs: Sequence[Value],
        type_: TensorType,
        *,
        part: bool = False,
    ) -> Value:
        """An element-by-element node; on padded operands one for every region, and their join."""
        if type_.elements and inputs and all(isinstance(each.source, Number) for each in inputs):
            found = computed(self._graph, op, attributes, inputs, type_)
            if found is not None:
                return found
        cut = regions(inputs, type_.shape) if type_.elements else None
        if cut is None:
            return self._loops.apply(at, op, attributes, inputs, type_, part=part)
        axis, stretches = cut
        parts: list[Value] = []
        for begin, end in stretches:
            own = [stretch(each, axis, begin, end) for each in inputs]
            shape = (*type_.shape[:axis], end - begin, *type_.shape[axis + 1 :])
            own_type = type_.with_shape(*shape)
            parts.append(self._by_regions(at, op, attributes, own, own_type, part=True))
        origin = (-1, 0) if part else (at.position, 0)
        base = self._base(type_, origin)
        assert base.result is not None
        return self._join(at, concat_parts(parts, axis, base.result.strides), base, padded=True)

    def _fold(self, at: Place, op: Op, axes: Sequence[int], x: Value, type_: TensorType) -> Value:
        if not type_.elements:
            return Value(self._graph.base(type_.dtype, 0), dense(type_.shape))
        if not x.map.elements:  # of nothing: 0, or 1
            return repeated(self._graph, type_.dtype.numpy.type(op.name == "Prod"), type_)
        rank = len(x.map.sizes)
        plain = sorted(axis % rank for axis in axes)
        chunked = self._chunked(at, op, plain, x, type_)
        if chunked is not None:
            axis = len(chunked.map.sizes) - 1
            whole = chunked.map.sizes[:axis]
            total = self._loops.fold(at, op, (axis,), chunked, type_.with_shape(*whole))
            again = reshaped(total.map, type_.shape)
            assert again is not None
            return Value(total.source, again)
        return self._loops.fold(at, op, plain, x, type_)

    def _chunked(
        self, at: Place, op: Op, axes: Sequence[int], x: Value, type_: TensorType
    ) -> Value | None:
        """Folds of the chunks of Note [Order of a sum], where one result takes long to fold.

        None where that is not worth it, or not possible: narrow floats are rounded but once.
        """
        narrow = type_.dtype in NARROW and op.name in ("Sum", "Prod")
        if type_.elements >= ROWS_MIN or narrow:
            return None
        kept = [axis for axis in range(len(x.map.sizes)) if axis not in axes]
        rows = tuple(x.map.sizes[axis] for axis in kept)
        size = x.map.elements // type_.elements
        flat = reshaped(permuted(x.map, [*kept, *axes]), (*rows, size))
        if size < CHUNKS_MIN * CHUNK or flat is None:
            return None
        last, parts = len(kept), list[Value]()
        for start, stop in ((0, size // CHUNK * CHUNK), (size // CHUNK * CHUNK, size)):
            if start < stop:
                length = min(CHUNK, stop - start)
                cut = along(flat, last, start, stop - start)
                pieces = reshaped(cut, (*rows, (stop - start) // length, length))
                assert pieces is not None
                result = type_.with_shape(*rows, (stop - start) // length)
                part = Value(x.source, pieces)
                parts.append(self._loops.fold(at, op, (last + 1,), part, result, part=True))
        joined = type_.with_shape(*rows, sum(each.map.sizes[-1] for each in parts))
        return self._concat(at, parts, last, joined, part=True)

    def _concat(
        self,
        at: Place,
        parts: Sequence[Value],
        axis: int,
        type_: TensorType,
        *,
        part: bool = False,
    ) -> Value:
        full = [each for each in parts if each.map.elements]
        if len(full) <= 1:
            return full[0] if full else Value(self._graph.base(type_.dtype, 0), dense(type_.shape))
        base = self._base(type_, (-1, 0) if part else (at.position, 0))
        assert base.result is not None
        return self._join(at, concat_parts(full, axis % type_.rank, base.result.strides), base)

    def _pad(self, at: Place, x: Value, attributes: Mapping[str, Any], type_: TensorType) -> Value:
        if x.map.sizes == type_.shape:
            return x
        number = convert(np.asarray(attributes["value"], np.float64), type_.dtype)
        filled = repeated(self._graph, number, type_)
        if not x.map.elements:
            return filled
        base = self._base(type_, (at.position, 0))
        assert base.result is not None
        parts = pad_parts(x, filled, attributes, base.result.strides)
        return self._join(at, parts, base, padded=True)

    def _join(self, at: Place, parts: list[Part], base: Base, *, padded: bool = False) -> Value:
        assert base.result is not None
        base.writer = JoinNode(at.origin, parts, base, base.result, padded)
        self._graph.nodes.append(base.writer)
        return Value(base, base.result)

    def _output(self, at: Place, value: Value) -> Value:
        """A value that can be handed out: row-major in one stretch of memory."""
        if is_handed_out(value):
            return value
        key = ("output", value)
        if key not in self._seen:
            self._seen[key] = (self._loops.copy(at, value, value.map.sizes),)
        return self._seen[key][0]


def _stands_in_loops(op: Op) -> bool:
    return op.group in _GROUPS or op.name == "Cast" or op.name in _PLACED


def _needed(graph: Graph) -> list[Node]:
    """Nodes on which outputs depend, and those that can fail.

    Others may be left over where a join was read through.
    """
    needed: set[Node] = set()
    left = [each.source for each in graph.outputs.values()]
    for node in graph.nodes:
        if isinstance(node, OpNode) and node.op.group not in _TOTAL:
            needed.add(node)
            left += [each.source for each in operands_of(node)]
    while left:
        source = left.pop()
        if isinstance(source, Base) and source.writer is not None and source.writer not in needed:
            needed.add(source.writer)
            left += [each.source for each in operands_of(source.writer)]
    return [node for node in graph.nodes if node in needed]


def _places(name: str, shape: tuple[int, ...]) -> list[Affine]:
    """The places that an instruction depends on."""
    none = (0,) * len(shape)
    if name == "OneHot":
        return [Affine(shape, (*none[1:], 1), 0)]
    if name in ("Tril", "Triu"):
        return [Affine(shape, (*none[2:], 1, 0), 0), Affine(shape, (*none[2:], 0, 1), 0)]
    return [dense(shape)]
