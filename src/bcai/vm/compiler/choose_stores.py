"""What loops store, and what is rather computed again by those who read it.

Note [Computed again]
    What several loops read is stored once by the loop that computes it. It is computed again in
    each of them instead if that takes a few cheap instructions on what is stored anyway.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from bcai.vm.compiler.affine import Affine, chained
from bcai.vm.compiler.fuse import Group
from bcai.vm.compiler.graph import Base, Graph, LoopNode, Value
from bcai.vm.compiler.place_parts import Layout, users_of

CHEAP = frozenset(
    {
        *("Add", "Sub", "Mul", "Neg", "Abs", "Min", "Max", "Where", "Fma", "Clamp", "Cast"),
        *("Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual", "IsNan", "IsInf"),
        *("And", "Or", "Xor", "Not", "OneHot", "Arange"),
    }
)
"""Instructions that take less time than reading their result from memory."""
AGAIN_MAX = 6
"""Cheap instructions that are computed again for one value."""
SMALL = 8
"""A base this many times smaller than another is stored beside it without regret."""


@dataclass(slots=True)
class Stores:
    """Which bases are stored; the others live in loops only."""

    graph: Graph
    groups: Mapping[LoopNode, Group]
    layout: Layout
    stored: set[Base] = field(default_factory=set[Base])

    def choose(self) -> set[Base]:
        """Decide it for every base that a loop computes."""
        users = users_of(self.graph)
        outputs = {each.source for each in self.graph.outputs.values()}
        open_: list[LoopNode] = []
        for node in self.graph.nodes:
            if not isinstance(node, LoopNode):
                continue
            group = self.groups[node]
            outside = [
                each
                for each in users.get(node.base, ())
                if not isinstance(each, LoopNode) or self.groups[each] is not group
            ]
            if node.base in outputs or any(not isinstance(each, LoopNode) for each in outside):
                self.stored.add(node.base)
            elif outside:
                open_.append(node)
        later = [node for node in open_ if not _is_cheap(node)]
        self.stored.update(node.base for node in later)
        for node in open_:
            if node.base not in self.stored:
                readers = [each for each in users[node.base] if isinstance(each, LoopNode)]
                if not self._again(node, readers):
                    self.stored.add(node.base)
        return self.stored

    def _again(self, node: LoopNode, readers: list[LoopNode]) -> bool:
        """Whether a base is rather computed again by those who read it."""
        whole, small = set[Base](), set[Base]()
        if not self._leaves(node, node.base, whole, small, [AGAIN_MAX]):
            return False
        outside = [each for each in readers if self.groups[each] is not self.groups[node]]
        maps = [
            value.map for each in outside for value in each.operands if value.source is node.base
        ]
        if not all(self._reaches(node, each) for each in maps):
            return False
        if len(whole) > 1:
            once = sum(each.elements for each in maps) <= node.base.elements
            if len(whole) > 2 or not once or len(outside) < len(readers):
                return False
        self.stored |= small
        return True

    def _can_store(self, node: LoopNode) -> bool:
        """Whether a node's loop comes to each of its elements once."""
        domain = self.groups[node].domain
        return set(domain.long(domain.kept)) <= domain.rows[node].keys()

    def _reaches(self, node: LoopNode, map_: Affine) -> bool:
        """Whether a node can be computed at the places to which a map goes."""
        for source, own in node.operands:
            at = chained(map_, own)
            if at is None:
                return False
            if not isinstance(source, Base):
                continue
            writer = source.writer
            if isinstance(writer, LoopNode) and source not in self.stored and not writer.is_fold:
                if not self._reaches(writer, at):
                    return False
            elif chained(at, self.layout.places(source)) is None:
                return False
        return True

    def _leaves(
        self, node: LoopNode, top: Base, whole: set[Base], small: set[Base], left: list[int]
    ) -> bool:
        """Collect what is read to compute a node again; False if that is too much.

        `whole` are those of which a good part is read, `small` those that would have to be stored.
        """
        left[0] -= 1
        if left[0] < 0 or not _is_cheap(node):
            return False
        for value in node.operands:
            source = value.source
            if not isinstance(source, Base):
                continue
            writer = source.writer
            if not isinstance(writer, LoopNode) or source in self.stored:
                if 2 * _read(value) > top.elements:
                    whole.add(source)
            elif source.elements * SMALL <= top.elements and self._can_store(writer):
                small.add(source)
            elif not self._leaves(writer, top, whole, small, left):
                return False
        return True


def _read(value: Value) -> int:
    """How many different elements a value has."""
    map_ = value.map
    return math.prod(size for size, stride in zip(map_.sizes, map_.strides, strict=True) if stride)


def _is_cheap(node: LoopNode) -> bool:
    return not node.is_fold and (node.op is None or node.op.name in CHEAP)
