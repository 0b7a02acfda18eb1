"""From a verified program to its plan: the one entry point of this stage.

The passes: macros are expanded (`expand`), views resolved and like instructions merged
(`build_graph`), parts of joins put in their places (`place_parts`), loops fused (`fuse`), stores
chosen (`choose_stores`) and tasks written (`write_tasks`), and the tasks put in order here.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from bcai.vm.compiler.base_orders import copied_bases, requests
from bcai.vm.compiler.build_graph import Elementwise, GraphBuilder
from bcai.vm.compiler.choose_stores import Stores
from bcai.vm.compiler.expand import ExpandingBuilder, Wanted, is_macro
from bcai.vm.compiler.fuse import Group, fuse
from bcai.vm.compiler.graph import Base, Graph, JoinNode, LoopNode, Number, OpNode, Value
from bcai.vm.compiler.place_parts import Layout, place_parts
from bcai.vm.compiler.plan import (
    Buffer,
    OpTask,
    Plan,
    Role,
    Task,
    View,
)
from bcai.vm.compiler.write_tasks import Step, StuckError, TaskWriter
from bcai.vm.isa.versions import instruction_set
from bcai.vm.program.program import VerifiedProgram


def make_plan(
    verified: VerifiedProgram,
    *,
    elementwise: Elementwise,
    expanded: Wanted = is_macro,
    keep: frozenset[int] = frozenset(),
) -> Plan:
    """Plan a program.

    Parameters
    ----------
    elementwise
        Whether an instruction, on operands and with a result of these element types (the result's
        is the last one), may stand in a loop. Folds always may.
    expanded
        Which macros are replaced by their lowering; a backend may have code for the whole of some.
    keep
        Numbers of values that shall be handed out beside the outputs, as `Plan.kept`.
    """
    wanted = (*verified.program.outputs, *((number, number) for number in sorted(keep)))
    primitive, origins = _expanded(verified, [value for _, value in wanted], expanded)
    graph = _graph(GraphBuilder(primitive, elementwise, origins))
    layout = place_parts(graph)
    groups = fuse(graph, layout)
    stored = Stores(graph, groups, layout).choose()
    while True:  # each time round, more is stored
        try:
            buffers, tasks, views = _Writer(graph, layout, groups, stored).write()
            break
        except StuckError as error:
            if not error.bases:
                raise
            stored = stored | error.bases
    found = {name: views[str(place)] for place, (name, _) in enumerate(wanted)}
    outputs = {name: view for name, view in found.items() if isinstance(name, str)}
    kept = {name: view for name, view in found.items() if isinstance(name, int)}
    return Plan(tuple(buffers), tuple(tasks), outputs, kept)


def _expanded(
    verified: VerifiedProgram, wanted: Sequence[int], expanded: Wanted
) -> tuple[VerifiedProgram, list[int]]:
    """Instructions that compute wanted values, and for each the instruction that it comes from.

    The outputs are named "0", "1", ...
    """
    program = verified.program
    builder = ExpandingBuilder(instruction_set(program.isa_version), expanded)
    symbols, origins = builder.copy_ports(program), list[int]()
    for position, instruction in enumerate(program.instructions):
        operands = [None if each is None else symbols[each] for each in instruction.operands]
        symbols += builder.emit(instruction.op.name, operands, instruction.attributes)
        origins += [position] * (len(builder.instructions) - len(origins))
    outputs = {str(place): symbols[value] for place, value in enumerate(wanted)}
    return builder.finish(**outputs), origins


def _graph(builder: GraphBuilder) -> Graph:
    """The graph, with the orders of bases that save copies."""
    graph = builder.build({})
    hints = requests(graph)
    if not hints:
        return graph
    before, second = copied_bases(graph), builder.build(hints)
    after = copied_bases(second)
    useless = {
        each
        for each in hints
        if after.get(each, 0) > before.get(each, 0) or after.get(each, 0) == before.get(each)
    }
    if not useless:
        return second
    return builder.build({each: row for each, row in hints.items() if each not in useless})


class _Writer:
    """Gives buffers numbers, writes tasks, and puts them in order."""

    def __init__(
        self, graph: Graph, layout: Layout, groups: Mapping[LoopNode, Group], stored: set[Base]
    ) -> None:
        self._graph = graph
        self._layout = layout
        self._groups = groups
        self._stored = stored
        self._buffers: list[Buffer] = []
        self._memory: dict[Base, int] = {}
        self._numbers: dict[Number, int] = {}

    def write(self) -> tuple[list[Buffer], list[Task], dict[str, View]]:
        """Buffers, tasks in order, and where the outputs lie."""
        self._number_buffers()
        writer = TaskWriter(self._groups, self._stored, self._layout, self._memory, self._numbers)
        steps: list[Step] = []
        seen: set[int] = set()
        for number, node in enumerate(self._graph.nodes):
            if isinstance(node, OpNode):
                steps.append(writer.operation(node, number))
            elif isinstance(node, LoopNode) and id(self._groups[node]) not in seen:
                seen.add(id(self._groups[node]))
                step = writer.loop(self._groups[node], number)
                if step is not None:
                    steps.append(step)
        views = {name: writer.view(value) for name, value in self._graph.outputs.items()}
        return self._buffers, in_order(steps), views

    def _number_buffers(self) -> None:
        outputs = {each.source for each in self._graph.outputs.values()}
        used = {
            value.source
            for node in self._graph.nodes
            if not isinstance(node, JoinNode)
            for value in node.operands
            if value is not None
        }
        for base in self._graph.bases:
            inside = self._layout.root(base) is not base
            loop = isinstance(base.writer, LoopNode)
            if inside or (loop and base not in self._stored):
                continue
            if base.data is not None and base not in used and base not in outputs:
                continue
            if base.port:
                role = Role.INPUT
            elif base.data is not None:
                role = Role.CONSTANT
            else:
                role = Role.OUTPUT if base in outputs else Role.TEMPORARY
            self._memory[base] = self._add(base.nbytes, role, base.port, base.data or b"")
        for node in self._graph.nodes:
            if isinstance(node, OpNode):
                for value in node.operands:
                    if value is not None and isinstance(value.source, Number):
                        self._number(value)

    def _number(self, value: Value) -> None:
        """A constant of one element for a number that an instruction reads from memory."""
        number = value.source
        if isinstance(number, Number) and number not in self._numbers:
            data = np.asarray(number.value).astype(number.dtype.numpy).tobytes()
            self._numbers[number] = self._add(len(data), Role.CONSTANT, "", data)

    def _add(self, nbytes: int, role: Role, name: str, data: bytes) -> int:
        self._buffers.append(Buffer(len(self._buffers), nbytes, role, name, data))
        return len(self._buffers) - 1


def in_order(steps: Sequence[Step]) -> list[Task]:
    """Tasks such that everything is written before it is read; else as they begin.

    Instructions that do more than compute keep their order among each other.
    """
    writers = {base: number for number, step in enumerate(steps) for base in step.writes}
    waiting = [0] * len(steps)
    followers: list[list[int]] = [[] for _ in steps]
    impure: int | None = None
    for number, step in enumerate(steps):
        before = {writers[base] for base in _leaves(step.reads) if base in writers}
        if isinstance(step.task, OpTask) and not step.task.op.pure:
            if impure is not None:
                before.add(impure)
            impure = number
        waiting[number] = len(before)
        for each in before:
            followers[each].append(number)
    ready = [(step.first, number) for number, step in enumerate(steps) if not waiting[number]]
    heapq.heapify(ready)
    found: list[Task] = []
    while ready:
        _, number = heapq.heappop(ready)
        found.append(steps[number].task)
        for each in followers[number]:
            waiting[each] -= 1
            if not waiting[each]:
                heapq.heappush(ready, (steps[each].first, each))
    assert len(found) == len(steps), "tasks wait for each other"
    return found


def _leaves(bases: Iterable[Base]) -> set[Base]:
    """Bases, and for joins the bases of their parts instead."""
    found, left = set[Base](), list(bases)
    while left:
        base = left.pop()
        if isinstance(base.writer, JoinNode):
            left += [
                part.source.source
                for part in base.writer.parts
                if isinstance(part.source.source, Base)
            ]
        else:
            found.add(base)
    return found
