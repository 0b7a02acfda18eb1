"""From groups of nodes to tasks, with every view of memory."""

from collections.abc import Mapping
from typing import NamedTuple

from bcai.vm.compiler.affine import (
    Affine,
    Split,
    coalesced,
    joined,
    through,
)
from bcai.vm.compiler.fuse import Group
from bcai.vm.compiler.graph import (
    Base,
    LoopNode,
    Number,
    OpNode,
    Places,
    Value,
    operands_of,
    results_of,
)
from bcai.vm.compiler.place_parts import Layout
from bcai.vm.compiler.plan import (
    Apply,
    Fold,
    Literal,
    Load,
    LoopTask,
    OpTask,
    Place,
    Task,
    View,
)
from bcai.vm.compiler.plan import Node as PlanNode
from bcai.vm.isa.types import TensorType

CUTS_MAX = 256
"""Of the axes of one loop."""
Memory = Mapping[Base, int]
"""Numbers of buffers."""


class Step(NamedTuple):
    """A task, the bases that it reads and writes, and the number of its first node."""

    task: Task
    first: int
    reads: set[Base]
    writes: set[Base]


class TaskWriter:
    """Writes the tasks of a graph whose bases have places."""

    def __init__(
        self,
        groups: Mapping[LoopNode, Group],
        stored: set[Base],
        layout: Layout,
        memory: Memory,
        numbers: Mapping[Number, int],
    ) -> None:
        self._groups = groups
        self._stored = stored
        self._layout = layout
        self._memory = memory
        self._numbers = numbers

    def operation(self, node: OpNode, number: int) -> Step:
        """The task of one instruction."""
        task = OpTask(
            node.op,
            node.attributes,
            tuple(None if each is None else self.view(each) for each in node.operands),
            tuple(self.view(each) for each in node.results),
            node.position,
        )
        read = (each.source for each in operands_of(node))
        bases = {each for each in read if isinstance(each, Base)}
        return Step(task, number, bases, set(results_of(node)))

    def view(self, value: Value) -> View:
        """Where a value lies."""
        source, map_ = value.source, value.map
        if isinstance(source, Number):
            return View(self._numbers[source], value.type, (0,) * len(map_.sizes))
        assert isinstance(source, Base)
        found = joined(map_, self._layout.places(source))
        assert found is not None
        return self._at(source, value.type, found)

    def _at(self, base: Base, type_: TensorType, map_: Affine) -> View:
        """The view, in which axes of size 1 stand where those of a contiguous one would."""
        strides, step = list(map_.strides), 1
        for axis in reversed(range(len(strides))):
            if map_.sizes[axis] == 1 or not type_.elements:
                strides[axis] = step
            step = strides[axis] * map_.sizes[axis]
        return View(self.buffer(base), type_, tuple(strides), map_.offset)

    def loop(self, group: Group, number: int) -> Step | None:
        """The task of a group; None if nothing of it is needed."""
        roots = [node for node in group.members if node.base in self._stored]
        if not roots:
            return None
        domain = group.domain
        folded = [each for each in domain.folded if domain.sizes[each] > 1]
        folds = bool(domain.folded)
        main = max(roots, key=lambda node: (len(domain.rows[node]), node.base.elements))
        row = domain.rows[main]
        kept = sorted(
            (each for each in domain.long(domain.kept)),
            key=lambda axis: -row.get(axis, 1 << 60),
        )
        axes = [*kept, *folded]
        sizes = [domain.sizes[each] for each in axes]
        count = len(kept)
        if folds and not folded:
            sizes.append(domain.sizes[domain.folded[0]])
        rows = {
            node: [each.get(axis, 0) for axis in axes] + [0] * (len(sizes) - len(axes))
            for node, each in domain.rows.items()
        }
        for _ in range(CUTS_MAX):
            writing = _Writing(self, tuple(sizes), count, rows)
            cut = writing.write(roots)
            if cut is None:
                task = writing.task(max(node.position for node in group.members))
                return Step(task, number, writing.read, {node.base for node in roots})
            axis, inner = cut
            sizes[axis : axis + 1] = [sizes[axis] // inner, inner]
            for each in rows.values():
                each[axis : axis + 1] = [each[axis] * inner, each[axis]]
            count += axis < count
        raise AssertionError("a loop's axes were cut without end")

    def is_stored(self, base: Base) -> bool:
        """Whether a base is in memory."""
        return base in self._stored or not isinstance(base.writer, LoopNode)

    def places(self, base: Base) -> Affine:
        """Where the elements of a base lie in their buffer."""
        return self._layout.places(base)

    def buffer(self, base: Base) -> int:
        """Number of the buffer that holds a base."""
        return self._memory[self._layout.root(base)]


class _CutError(Exception):
    """The loop must be cut there first."""

    def __init__(self, axis: int, inner: int) -> None:
        super().__init__(axis, inner)
        self.where = (axis, inner)


class StuckError(Exception):
    """A loop cannot be cut as everything in it needs; some bases must not be computed again."""

    def __init__(self, bases: set[Base]) -> None:
        super().__init__("no cut of a loop's axes serves all that it touches")
        self.bases = bases


class _Writing:
    """One attempt to write a loop over given axes."""

    def __init__(
        self,
        writer: TaskWriter,
        sizes: tuple[int, ...],
        kept: int,
        rows: Mapping[LoopNode, list[int]],
    ) -> None:
        self._writer = writer
        self._sizes = sizes
        self._kept = kept
        self._rows = rows
        self._nodes: list[PlanNode] = []
        self._seen: dict[object, int] = {}
        self._stores: list[tuple[int, View]] = []
        self.read: set[Base] = set()
        """Bases that are loaded."""
        self._again: set[Base] = set()
        """Bases of other loops that are computed again."""

    def write(self, roots: list[LoopNode]) -> tuple[int, int] | None:
        """Write everything; or say where to cut first."""
        try:
            for node in roots:
                self._store(node)
        except _CutError as cut:
            return cut.where
        return None

    def task(self, position: int) -> LoopTask:
        """The task, with axes joined that are walked through as one."""
        shape, kept = list(self._sizes), self._kept
        rows = [list(each.view.strides) for each in self._nodes if isinstance(each, Load)]
        rows += [list(each.strides) for each in self._nodes if isinstance(each, Place)]
        rows += [list(view.strides) for _, view in self._stores]
        walls = frozenset({kept}) if kept < len(shape) else frozenset[int]()
        sizes, merged = coalesced(shape, rows, walls)
        new_kept = len(coalesced(shape[:kept], [row[:kept] for row in rows])[0])
        strides = iter(merged)
        nodes = list(self._nodes)
        whole = tuple(sizes)
        for place, node in enumerate(nodes):
            if isinstance(node, Load):
                type_ = TensorType(node.view.type.dtype, whole)
                view = View(node.view.buffer, type_, tuple(next(strides)), node.view.offset)
                nodes[place] = Load(view)
        for place, node in enumerate(nodes):
            if isinstance(node, Place):
                nodes[place] = Place(tuple(next(strides)), node.offset)
        stores: list[tuple[int, View]] = []
        short = (*whole[:new_kept], *(1 for _ in whole[new_kept:]))
        for number, view in self._stores:
            is_short = view.type.shape != self._sizes
            type_ = TensorType(view.type.dtype, short if is_short else whole)
            stores.append((number, View(view.buffer, type_, tuple(next(strides)), view.offset)))
        return LoopTask(whole, new_kept, tuple(nodes), tuple(stores), position)

    def _store(self, node: LoopNode) -> None:
        own = Affine(self._sizes, tuple(self._rows[node]), 0)
        number = self._computed(node, own)
        written = self._chain(own, node.result) if node.is_fold else own
        place = self._chain(written, self._writer.places(node.base))
        folds = self._kept < len(self._sizes)
        row = self._rows[node][self._kept :]
        shape = self._sizes
        if folds and (node.is_fold or not any(row)):
            shape = (*shape[: self._kept], *(1 for _ in row))
        view = View(
            self._writer.buffer(node.base),
            TensorType(node.base.dtype, shape),
            place.strides,
            place.offset,
        )
        self._stores.append((number, view))

    def _chain(self, outer: Affine, inner: Affine) -> Affine:
        found = through(outer, inner)
        if isinstance(found, Split):
            raise _CutError(found.axis, found.inner)
        if found is None:
            raise StuckError(self._again)
        return found

    def _computed(self, node: LoopNode, at: Affine) -> int:
        """Number of the plan's node for a node at an access to its index space."""
        key = (node, at)
        if key not in self._seen:
            operands = tuple(self._operand(each, at) for each in node.operands)
            dtype = node.base.dtype
            if node.op is None:
                self._seen[key] = operands[0]
            elif node.is_fold:
                self._seen[key] = self._add(Fold(node.op, operands[0], dtype))
            else:
                self._seen[key] = self._add(Apply(node.op, operands, node.attributes, dtype))
        return self._seen[key]

    def _operand(self, value: Value, at: Affine) -> int:
        source = value.source
        if isinstance(source, Number):
            return self._once(source, Literal(source.value, source.dtype))
        place = self._chain(at, value.map)
        if isinstance(source, Places):
            return self._once((source, place), Place(place.strides, place.offset))
        writer = source.writer
        if isinstance(writer, LoopNode):
            if writer.is_fold and writer in self._rows:
                own = Affine(self._sizes, tuple(self._rows[writer]), 0)
                assert self._chain(own, writer.result) == place
                return self._computed(writer, own)
            if writer in self._rows or not self._writer.is_stored(source):
                assert not writer.is_fold
                if writer not in self._rows:
                    self._again.add(source)
                return self._computed(writer, place)
        self.read.add(source)
        laid = self._chain(place, self._writer.places(source))
        buffer = self._writer.buffer(source)
        view = View(buffer, TensorType(source.dtype, self._sizes), laid.strides, laid.offset)
        return self._once(view, Load(view))

    def _once(self, key: object, node: PlanNode) -> int:
        if key not in self._seen:
            self._seen[key] = self._add(node)
        return self._seen[key]

    def _add(self, node: PlanNode) -> int:
        self._nodes.append(node)
        return len(self._nodes) - 1
