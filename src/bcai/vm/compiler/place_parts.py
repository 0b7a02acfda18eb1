"""Where bases lie: each in memory of its own, but parts of a join within the join."""

from dataclasses import dataclass, field

from bcai.vm.compiler.affine import (
    Affine,
    Split,
    coalesced,
    dense,
    fits,
    is_bijective,
    joined,
    split_sizes,
    split_strides,
    through,
)
from bcai.vm.compiler.graph import Base, Graph, JoinNode, LoopNode, Node, OpNode, Part, Value
from bcai.vm.compiler.plan import row_major

CUTS_MAX = 64
"""Of the axes of one map; a rank is at most 16."""


@dataclass(slots=True)
class Layout:
    """For bases that lie within others: the outermost one, and the map to its places."""

    inside: dict[Base, tuple[Base, Affine]] = field(default_factory=dict[Base, tuple[Base, Affine]])

    def root(self, base: Base) -> Base:
        """The base whose memory it is."""
        return self.inside[base][0] if base in self.inside else base

    def places(self, base: Base) -> Affine:
        """From the base's places to those of its root."""
        return self.inside[base][1] if base in self.inside else dense((base.elements,))


def place_parts(graph: Graph) -> Layout:
    """Let the parts of joins be computed where they belong; write copies for those that cannot."""
    layout, users = Layout(), users_of(graph)
    fixed = {each.source for each in graph.outputs.values()}
    copies: dict[JoinNode, list[LoopNode]] = {}
    for node in reversed(graph.nodes):
        if not isinstance(node, JoinNode):
            continue
        root, outer = layout.root(node.base), layout.places(node.base)
        for index, part in enumerate(node.parts):
            source = part.source.source
            inner = _order_of(part)
            if inner is None or not isinstance(source, Base) or source in fixed:
                moved = None
            else:
                moved = _chained(inner, outer)
            if (
                moved is not None
                and isinstance(source, Base)
                and source not in layout.inside
                and _suits(source, users.get(source, []), node, moved)
            ):
                layout.inside[source] = (root, moved)
                continue
            copy = _copy_of(graph, node, part)
            users.setdefault(copy.base, []).append(node)
            if isinstance(source, Base):
                users[source].append(copy)
            sizes = part.place.sizes
            node.parts[index] = Part(Value(copy.base, dense(sizes)), part.place)
            place = _chained(part.place, outer)
            assert place is not None
            layout.inside[copy.base] = (root, place)
            copies.setdefault(node, []).append(copy)
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node, JoinNode):
            nodes += copies.get(node, [])
        nodes.append(node)
    graph.nodes = nodes
    return layout


def users_of(graph: Graph) -> dict[Base, list[Node]]:
    """Nodes that read each base, in order; one that reads it twice stands there twice."""
    users: dict[Base, list[Node]] = {}
    for node in graph.nodes:
        operands = (
            (part.source for part in node.parts) if isinstance(node, JoinNode) else node.operands
        )
        for value in operands:
            if value is not None and isinstance(value.source, Base):
                users.setdefault(value.source, []).append(node)
    return users


def _order_of(part: Part) -> Affine | None:
    """From the places of the part's base to those of the join; None if it is not all of it."""
    source, map_ = part.source
    if (
        not isinstance(source, Base)
        or source.writer is None
        or not is_bijective(map_, source.elements)
    ):
        return None
    axes = sorted(range(len(map_.sizes)), key=lambda axis: -map_.strides[axis])
    sizes = tuple(map_.sizes[axis] for axis in axes)
    return Affine(sizes, tuple(part.place.strides[axis] for axis in axes), part.place.offset)


def _chained(inner: Affine, outer: Affine) -> Affine | None:
    """The chain of two maps; axes of the first are cut as need be."""
    for _ in range(CUTS_MAX):
        found = through(inner, outer)
        if not isinstance(found, Split):
            return found
        inner = Affine(
            split_sizes(inner.sizes, found.axis, found.inner),
            split_strides(inner.strides, found.axis, found.inner),
            inner.offset,
        )
    return None


def _suits(base: Base, users: list[Node], join: JoinNode, place: Affine) -> bool:
    """Whether everything that touches a base can find it there."""
    writer = base.writer
    if isinstance(writer, OpNode):
        results = [each.map for each in writer.results if each.source is base]
        if any(joined(each, place) is None for each in results):
            return False
    elif isinstance(writer, JoinNode):
        if not all(fits(part.place, place) for part in writer.parts):
            return False
    elif isinstance(writer, LoopNode) and not fits(dense(writer.sizes[: writer.kept]), place):
        return False
    for user in users:
        if user is join:
            continue
        if isinstance(user, OpNode):
            maps = [each.map for each in user.operands if each is not None and each.source is base]
            if any(joined(each, place) is None for each in maps):
                return False
        elif isinstance(user, LoopNode):
            if not all(fits(each.map, place) for each in user.operands if each.source is base):
                return False
        elif not all(
            fits(part.source.map, place) for part in user.parts if part.source.source is base
        ):
            return False
    return sum(part.source.source is base for part in join.parts) == 1


def _copy_of(graph: Graph, join: JoinNode, part: Part) -> LoopNode:
    source, map_ = part.source
    sizes, (strides, _) = coalesced(map_.sizes, (map_.strides, row_major(map_.sizes)))
    base = graph.base(source.dtype, map_.elements)
    operand = Value(source, Affine(tuple(sizes), tuple(strides), map_.offset))
    copy = LoopNode(join.position, None, {}, tuple(sizes), len(sizes), (operand,), base)
    base.writer = copy
    return copy
