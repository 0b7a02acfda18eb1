"""In what order the elements of a base are counted.

Note [Order of a base]
    The elements of a base may be counted in any order of its axes. An element-by-element result
    takes that of its largest operand, so that both are walked through as they lie in memory. What
    must be row-major in the end (an output, or a reshape of a permutation) asks for its order:
    the graph is built once to learn what is asked for, and once more to grant it.
"""

import math
from collections.abc import Mapping, Sequence

from bcai.vm.compiler.affine import (
    CUTS_MAX,
    Affine,
    dense,
    divided,
    is_bijective,
    joined,
    permuted,
    through,
)
from bcai.vm.compiler.graph import Base, Graph, LoopNode, Source, Value
from bcai.vm.compiler.plan import row_major

Hints = Mapping[tuple[int, int], tuple[int, ...]]
"""Strides that a result shall have in its base, by instruction and place among its results."""


def as_they_lie(shape: Sequence[int], rows: Sequence[Sequence[int]], axes: list[int]) -> list[int]:
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
    """Orders of bases that would save copies, or steps across memory.

    First come outputs, then reshapes; then, from the last instruction to the first, loops that
    read something in another order than they go: what they read shall lie as they go.
    """
    found: dict[tuple[int, int], tuple[int, ...]] = {}
    inner: dict[Base, Affine] = {}

    def ask(value: Value, wanted: Affine) -> None:
        source = value.source
        if not isinstance(source, Base) or source.result is None or source.origin in found:
            return
        order = _order(source, wanted)
        moved = None if order is None else joined(source.result, order)
        if order is not None and moved is not None:
            inner[source] = order
            found[source.origin] = moved.strides

    copies = [node for node in graph.nodes if isinstance(node, LoopNode) and node.op is None]
    outputs = {each.source for each in graph.outputs.values()}
    for node in sorted(copies, key=lambda each: each.base not in outputs):
        ask(node.operands[0], node.operands[0].map)
    for node in reversed(graph.nodes):
        if isinstance(node, LoopNode) and not (node.is_fold and node.kept):
            wanted = _walked([each.map for each in node.operands], inner.get(node.base))
            for value, each in zip(node.operands, wanted, strict=True):
                if not each.is_row_major:
                    ask(value, each)
    return found


def _walked(maps: list[Affine], order: Affine | None) -> list[Affine]:
    """What a loop reads, by its axes in the order in which it goes once its base has that order."""
    if order is None or not maps:
        return maps
    outer = dense(maps[0].sizes)
    for _ in range(CUTS_MAX):
        moved = through(outer, order)
        if moved is None:
            return maps
        if isinstance(moved, Affine):
            strides = moved.strides
            axes = sorted(range(len(strides)), key=lambda axis: -strides[axis])
            return [permuted(each, axes) for each in maps]
        outer, *maps = [divided(each, moved) for each in (outer, *maps)]
    return maps


def _order(source: Base, wanted: Affine) -> Affine | None:
    """From the places of a base to those of one that counts in the row-major order of `wanted`."""
    if not is_bijective(wanted, source.elements):
        return None
    axes = sorted(range(len(wanted.sizes)), key=lambda axis: -wanted.strides[axis])
    counted = row_major(wanted.sizes)
    sizes = tuple(wanted.sizes[axis] for axis in axes)
    return Affine(sizes, tuple(counted[axis] for axis in axes), 0)


def copied_bases(graph: Graph) -> dict[tuple[int, int], int]:
    """How many elements of each instruction's result are copied."""
    found: dict[tuple[int, int], int] = {}
    for node in graph.nodes:
        if isinstance(node, LoopNode) and node.op is None:
            source: Source = node.operands[0].source
            if isinstance(source, Base):
                found[source.origin] = found.get(source.origin, 0) + node.base.elements
    return found
