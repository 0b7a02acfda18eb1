"""Which element-by-element instructions and folds are done in one loop.

Note [Fusion]
    Nodes are taken in the order of the program. Each starts as a loop of its own and is then merged
    with the loops that compute what it reads, the latest first, if
    - their axes can be made the same (Note [Axes of a loop]), with the same ones folded;
    - nothing outside has read the earlier loop yet, or the later one needs nothing newer than what
      the earlier one needs (then it is drawn forward): so no cycle can come about;
    - it does not make worse code: see `_pays`.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from bcai.vm.compiler.affine import Affine, agree
from bcai.vm.compiler.domain import Domain, Row, aligned, matched
from bcai.vm.compiler.graph import Base, Graph, LoopNode, Node, operands_of
from bcai.vm.compiler.place_parts import Layout, users_of

NODES_MAX = 64
"""In one loop: beyond, registers and compile time suffer."""
BUFFERS_MAX = 24
"""Read or written by one loop: beyond, addresses no longer fit in registers."""
ROWS_MIN = 8
"""Fewer rows give a thread too little to do."""
ROW_ELEMENTS_MAX = 16384
"""A row this short is quick even on one thread."""
SCALARS_MAX = 16
"""Single numbers that a loop may compute beside its elements."""
WAITING_ELEMENTS_MAX = 1024
"""A fold this short may as well be done late."""
SIBLINGS_MAX = 4
"""Earlier loops on the same base that a loop is held against."""


class Edge(NamedTuple):
    """A base that one loop computes and another one reads."""

    base: Base
    writer: LoopNode
    reader: LoopNode
    map: Affine


@dataclass(eq=False, slots=True)
class Group:
    """Nodes that are done in one loop.

    `ancestors` has a bit for every group and node that must be done before, and for those merged
    into this one; `readers` are nodes outside that were met so far.
    """

    domain: Domain
    ancestors: int
    readers: set[Node] = field(default_factory=set[Node])

    @property
    def members(self) -> list[LoopNode]:
        """Nodes of this loop, in order."""
        return list(self.domain.rows)


def fuse(graph: Graph, layout: Layout) -> dict[LoopNode, Group]:
    """Put every loop node into a group."""
    return _Fusion(graph, layout).run()


class _Fusion:
    def __init__(self, graph: Graph, layout: Layout) -> None:
        self._graph = graph
        self._layout = layout
        self._users = users_of(graph)
        self._demanded = {id(each.source) for each in graph.outputs.values()}
        self._group_of: dict[LoopNode, Group] = {}
        self._ancestors: dict[Node, int] = {}
        self._loads: dict[Base, list[tuple[LoopNode, Affine]]] = {}
        self._order = {node: place for place, node in enumerate(graph.nodes)}

    def run(self) -> dict[LoopNode, Group]:
        for place, node in enumerate(self._graph.nodes):
            ancestors = 1 << place
            writers = self._writers(node)
            for writer in writers:
                group = self._group_of.get(writer) if isinstance(writer, LoopNode) else None
                if group is None:
                    ancestors |= self._ancestors[writer]
                else:
                    ancestors |= group.ancestors
                    group.readers.add(node)
            if not isinstance(node, LoopNode):
                self._ancestors[node] = ancestors
                continue
            group = Group(Domain.of(node), ancestors)
            self._group_of[node] = group
            self._merge_producers(node)
            self._merge_sibling(node)
            for value in node.operands:
                if isinstance(value.source, Base):
                    self._loads.setdefault(value.source, []).append((node, value.map))
        return self._group_of

    def _writers(self, node: Node) -> list[Node]:
        """Nodes that compute what a node reads, the latest first."""
        found = {
            value.source.writer: None
            for value in operands_of(node)
            if isinstance(value.source, Base) and value.source.writer is not None
        }
        return sorted(found, key=lambda each: -self._order[each])

    def _merge_producers(self, node: LoopNode) -> None:
        for writer in self._writers(node):
            if not isinstance(writer, LoopNode):
                continue
            first, second = self._group_of[writer], self._group_of[node]
            if first is second or not self._may_merge(first, second):
                continue
            domain = self._merged(first, second)
            if domain is None:
                continue
            self._replace(first, second, domain)

    def _replace(self, first: Group, second: Group, domain: Domain) -> None:
        readers = (first.readers | second.readers) - set(domain.rows)
        group = Group(domain, first.ancestors | second.ancestors, readers)
        for each in domain.rows:
            self._group_of[each] = group

    def _merge_sibling(self, node: LoopNode) -> None:
        """Merge with a loop that reads the same elements, if neither depends on the other."""
        for source, map_ in node.operands:
            if not isinstance(source, Base):
                continue
            for other, its in self._loads.get(source, ())[: -SIBLINGS_MAX - 1 : -1]:
                first, second = self._group_of[other], self._group_of[node]
                if first is second or not self._are_siblings(first, second):
                    continue
                one, two = first.domain.copy(), second.domain.copy()
                if map_.offset or its.offset:
                    continue
                rows = (one.read(other, its), two.read(node, map_))
                pairs = matched(one, rows[0], two, rows[1], source.elements)
                if pairs is None or len(pairs) < len(one.long(one.sizes)):
                    continue
                domain = _united(one, two, dict(pairs))
                if domain is None or len(domain.long(domain.sizes)) != len(pairs):
                    continue
                if self._pays(first, second, domain) and agree(self._chains(domain)):
                    self._replace(first, second, domain)
                    return

    def _are_siblings(self, first: Group, second: Group) -> bool:
        if first.readers or second.readers:
            return False
        if bool(first.domain.folded) != bool(second.domain.folded):
            return False
        if len(first.domain.rows) + len(second.domain.rows) > NODES_MAX:
            return False
        return not (first.ancestors & self._own(second) or second.ancestors & self._own(first))

    def _own(self, group: Group) -> int:
        found = 0
        for each in group.domain.rows:
            found |= 1 << self._order[each]
        return found

    def _may_merge(self, first: Group, second: Group) -> bool:
        """Whether the merged loops could still be put in order."""
        if len(first.domain.rows) + len(second.domain.rows) > NODES_MAX:
            return False
        if self._waits(first, second):
            return False
        if first.readers <= second.domain.rows.keys():
            return True
        newer = second.ancestors & ~first.ancestors & ~self._own(second)
        return not newer and self._saves(first, second)

    def _waits(self, first: Group, second: Group) -> bool:
        """Whether a long fold to one number would wait for others that the number meets next.

        So the squares of a gradient are summed while it is in the cache.
        """
        domain = first.domain
        if not domain.folded or domain.product(domain.folded) <= WAITING_ELEMENTS_MAX:
            return False
        if any(node.base.elements > 1 for node in second.domain.rows):
            return False
        return any(
            isinstance(value.source, Base)
            and isinstance(value.source.writer, LoopNode)
            and value.source.writer not in first.domain.rows
            and value.source.writer not in second.domain.rows
            for node in second.domain.rows
            for value in node.operands
        )

    def _saves(self, first: Group, second: Group) -> bool:
        """Whether drawing the second loop forward leaves no more to be kept until later."""
        read = stored = 0
        for edge in self._edges(first, second):
            if self._is_private(edge.base, first, second):
                read += edge.base.nbytes
        for node in second.domain.rows:
            if not self._is_private(node.base, first, second):
                stored += node.base.nbytes
        return stored <= read

    def _is_private(self, base: Base, first: Group, second: Group) -> bool:
        """Whether nothing outside these two loops needs a base."""
        return id(base) not in self._demanded and all(
            isinstance(each, LoopNode) and (each in first.domain.rows or each in second.domain.rows)
            for each in self._users.get(base, ())
        )

    def _edges(self, first: Group, second: Group) -> list[Edge]:
        edges: list[Edge] = []
        for reader in second.domain.rows:
            for value in reader.operands:
                source = value.source
                if isinstance(source, Base) and isinstance(source.writer, LoopNode):
                    writer = source.writer
                    if writer in first.domain.rows:
                        edges.append(Edge(source, writer, reader, value.map))
        return edges

    def _merged(self, first: Group, second: Group) -> Domain | None:
        """One domain for both, or None."""
        edges = self._edges(first, second)
        main = max(edges, key=lambda edge: edge.base.elements)
        one, two = first.domain.copy(), second.domain.copy()
        if main.map.offset:
            return None
        pairs = matched(
            one,
            one.written(main.writer),
            two,
            two.read(main.reader, main.map),
            main.base.elements,
        )
        if pairs is None:
            return None
        lefts = [each for each in one.long(one.sizes) if each not in {a for a, _ in pairs}]
        rights = [each for each in two.long(two.sizes) if each not in {b for _, b in pairs}]
        spread = self._spread(first, second, main, (one, lefts), (two, rights))
        if spread is None:
            return None
        domain = _united(one, two, dict([*pairs, *spread]))
        if domain is None:
            return None
        for edge in edges:
            if edge.map.offset or domain.written(edge.writer) != domain.read(edge.reader, edge.map):
                return None
        if not self._pays(first, second, domain) or not agree(self._chains(domain)):
            return None
        return domain

    def _chains(self, domain: Domain) -> list[tuple[Affine, Affine]]:
        """What a loop touches that does not lie by itself."""
        placed, axes = self._layout.inside, tuple(domain.sizes)
        sizes = tuple(domain.sizes.values())
        found: list[tuple[Affine, Affine]] = []

        def touch(row: Row, offset: int, base: Base) -> None:
            strides = tuple(row.get(axis, 0) for axis in axes)
            found.append((Affine(sizes, strides, offset), self._layout.places(base)))

        for node in domain.rows:
            if node.base in placed:
                touch(domain.written(node), 0, node.base)
            for source, map_ in node.operands:
                if isinstance(source, Base) and source in placed:
                    touch(domain.read(node, map_), map_.offset, source)
        return found

    def _spread(
        self,
        first: Group,
        second: Group,
        main: Edge,
        one: tuple[Domain, list[int]],
        two: tuple[Domain, list[int]],
    ) -> list[tuple[int, int]] | None:
        """Pair what is left of the axes where a base is the same along some of them."""
        (left, lefts), (right, rights) = one, two
        folded = left.long(left.folded)
        if not lefts and not rights:
            return []
        if not rights:
            return [] if set(lefts) == set(folded) else None
        if not lefts:
            if left.folded:  # a fold over nothing, spread along nothing of its own
                return None
            if right.folded and set(rights) == set(right.long(right.folded)):
                return []
            single = all(node.base.elements == 1 for node in first.domain.rows)
            small = single and len(first.domain.rows) <= SCALARS_MAX
            private = small and all(
                self._is_private(node.base, first, second) for node in first.domain.rows
            )
            return [] if private else None
        if set(lefts) != set(folded):
            return None
        if right.folded:
            if set(rights) != set(right.long(right.folded)):
                return None
            return aligned(left, folded, right, right.long(right.folded))
        row = right.rows[main.reader]
        ordered = sorted(rights, key=lambda axis: -row.get(axis, 0))
        return aligned(left, folded, right, ordered)

    def _pays(self, first: Group, second: Group, domain: Domain) -> bool:
        """Whether one loop is better than two."""
        if not domain.folded or not domain.long(domain.folded):
            return self._buffers(domain) <= BUFFERS_MAX
        if any(_spreads(each) for each in domain.rows):
            return False  # it would be stored whole, though it is the same along folded axes
        rows, row = domain.product(domain.kept), domain.product(domain.folded)
        few = rows < ROWS_MIN and row > ROW_ELEMENTS_MAX
        # Columns do not suit what is done before them, which goes through memory in order.
        columns = not first.domain.folded and any(
            _is_column(each) for each in domain.rows if each.is_fold
        )
        if (few or columns) and self._whole_stores(first, second, domain):
            return False
        return self._buffers(domain) <= BUFFERS_MAX

    def _whole_stores(self, first: Group, second: Group, domain: Domain) -> bool:
        """Whether anything that varies along folded axes must be stored."""
        folded = set(domain.long(domain.folded))
        return any(
            not node.is_fold
            and folded & row.keys()
            and not self._is_private(node.base, first, second)
            for node, row in domain.rows.items()
        )

    def _buffers(self, domain: Domain) -> int:
        """How many bases a loop reads, and those of its own that are needed outside."""
        found: set[Base] = set()
        for node in domain.rows:
            for value in node.operands:
                if isinstance(value.source, Base) and value.source.writer not in domain.rows:
                    found.add(value.source)
        own = sum(
            id(node.base) in self._demanded
            or any(each not in domain.rows for each in self._users.get(node.base, ()))
            for node in domain.rows
        )
        return len(found) + own


def _united(one: Domain, two: Domain, names: dict[int, int]) -> Domain | None:
    """Both domains with axes of the first renamed; None if they fold different axes."""
    sizes = dict(two.sizes)
    for axis, size in one.sizes.items():
        if axis not in names:
            sizes[axis] = size
    folded = [names.get(axis, axis) for axis in one.folded]
    if one.folded and two.folded:
        if [each for each in folded if sizes[each] > 1] != two.long(two.folded):
            return None
        folded = two.folded
    elif two.folded:
        folded = two.folded
    rows = {
        node: {names.get(axis, axis): stride for axis, stride in row.items()}
        for node, row in one.rows.items()
    }
    return Domain(sizes, list(folded), rows | two.rows)


def _spreads(node: LoopNode) -> bool:
    """Whether a copy repeats elements."""
    return node.op is None and any(
        stride == 0 and size > 1
        for stride, size in zip(node.operands[0].map.strides, node.sizes, strict=True)
    )


def _is_column(fold: LoopNode) -> bool:
    """Whether what is folded lies across memory: a kept axis has the smaller steps."""
    strides = fold.operands[0].map.strides
    kept = [abs(stride) for stride in strides[: fold.kept] if stride]
    folded = [
        abs(stride)
        for stride, size in zip(strides[fold.kept :], fold.sizes[fold.kept :], strict=True)
        if stride and size > 1
    ]
    return bool(kept and folded) and min(kept) < min(folded)
