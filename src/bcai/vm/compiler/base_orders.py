"""In what order the elements of a base are counted.

Note [Order of a base]
    The elements of a base may be counted in any order of its axes. An element-by-element result
    takes that of its largest operand, so that both are walked through as they lie in memory. What
    must be row-major in the end (an output, or a reshape of a permutation) asks for its order:
    the graph is built once to learn what is asked for, and once more to grant it.
"""

import math
from collections.abc import Mapping, Sequence

from bcai.vm.compiler.affine import Affine, is_bijective, joined
from bcai.vm.compiler.graph import Base, Graph, LoopNode, Source
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
