"""Where bases lie: each in memory of its own, but parts of a join within the join."""

from dataclasses import dataclass, field

from bcai.vm.compiler.affine import (
    Affine,
    agree,
    chained,
    coalesced,
    dense,
    is_bijective,
    joined,
)
from bcai.vm.compiler.graph import (
    Base,
    Graph,
    JoinNode,
    LoopNode,
    Node,
    OpNode,
    Part,
    Value,
    operands_of,
)
from bcai.vm.compiler.plan import row_major


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
                moved = chained(inner, outer)
            if (
                moved is not None
                and isinstance(source, Base)
                and source not in layout.inside
                and _suits(layout, source, users.get(source, []), node, moved)
            ):
                layout.inside[source] = (root, moved)
                continue
            copy = _copy_of(graph, node, part)
            users.setdefault(copy.base, []).append(node)
            if isinstance(source, Base):
                users[source].append(copy)
            sizes = part.place.sizes
            node.parts[index] = Part(Value(copy.base, dense(sizes)), part.place)
            place = chained(part.place, outer)
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
        for value in operands_of(node):
            if isinstance(value.source, Base):
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


def _suits(layout: Layout, base: Base, users: list[Node], join: JoinNode, place: Affine) -> bool:
    """Whether everything that touches a base can find it there."""
    if sum(part.source.source is base for part in join.parts) != 1:
        return False
    fixed, loose = _written(base), list[Affine]()
    if isinstance(base.writer, JoinNode):
        loose += [part.place for part in base.writer.parts]
    loops = [each for each in (base.writer, *users) if isinstance(each, LoopNode)]
    for user in users:
        if user is not join and not isinstance(user, LoopNode):
            maps = [each.map for each in operands_of(user) if each.source is base]
            (fixed if isinstance(user, OpNode) else loose).extend(maps)
    return (
        all(joined(each, place) for each in fixed)
        and all(chained(each, place) for each in loose)
        and all(agree(_chains(layout, each, base, place)) for each in loops)
    )


def _chains(
    layout: Layout, node: LoopNode, base: Base, place: Affine
) -> list[tuple[Affine, Affine]]:
    """What a loop touches that does not lie by itself, if a base gets a place."""
    touched = [*node.operands, Value(node.base, node.result)]
    return [
        (each.map, place if each.source is base else layout.places(each.source))
        for each in touched
        if isinstance(each.source, Base) and (each.source is base or each.source in layout.inside)
    ]


def _written(base: Base) -> list[Affine]:
    """How an instruction's results lie in a base; these maps cannot be cut."""
    if not isinstance(base.writer, OpNode):
        return []
    return [each.map for each in base.writer.results if each.source is base]


def _copy_of(graph: Graph, join: JoinNode, part: Part) -> LoopNode:
    source, map_ = part.source
    sizes, (strides, _) = coalesced(map_.sizes, (map_.strides, row_major(map_.sizes)))
    base = graph.base(source.dtype, map_.elements)
    operand = Value(source, Affine(tuple(sizes), tuple(strides), map_.offset))
    copy = LoopNode(join.position, None, {}, tuple(sizes), len(sizes), (operand,), base)
    base.writer = copy
    return copy
