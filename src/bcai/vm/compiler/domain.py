"""The axes of a loop, and how its nodes count along them.

Note [Axes of a loop]
    A domain is a set of axes. A member counts its own index space row-major; its *row* says how
    far it gets along each axis of the domain. Two domains are merged along a base that one member
    computes and another one reads: both count it along their axes, these are cut until they agree,
    and axes that count alike become one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

from bcai.vm.compiler.affine import Affine
from bcai.vm.compiler.graph import LoopNode
from bcai.vm.compiler.plan import row_major

_NUMBERS = count()
Row = dict[int, int]


@dataclass(slots=True)
class Domain:
    """Axes by number, with their sizes; those that are folded, in order; and the members' rows."""

    sizes: dict[int, int]
    folded: list[int]
    rows: dict[LoopNode, Row]

    @classmethod
    def of(cls, node: LoopNode) -> "Domain":
        """The domain of one node."""
        sizes, folded, row = dict[int, int](), list[int](), Row()
        for axis, (size, stride) in enumerate(zip(node.sizes, row_major(node.sizes), strict=True)):
            number = next(_NUMBERS)
            sizes[number] = size
            if size > 1:
                row[number] = stride
            if axis >= node.kept:
                folded.append(number)
        return cls(sizes, folded, {node: row})

    def copy(self) -> "Domain":
        """One that can be cut without changing this."""
        rows = {node: dict(row) for node, row in self.rows.items()}
        return Domain(dict(self.sizes), list(self.folded), rows)

    def cut(self, axis: int, inner: int) -> tuple[int, int]:
        """Cut an axis in two; return the outer and the inner one."""
        first, second = next(_NUMBERS), next(_NUMBERS)
        sizes: dict[int, int] = {}
        for each, size in self.sizes.items():
            if each == axis:
                sizes |= {first: size // inner, second: inner}
            else:
                sizes[each] = size
        self.sizes = sizes
        for row in self.rows.values():
            if axis in row:
                stride = row.pop(axis)
                row |= {first: stride * inner, second: stride}
        if axis in self.folded:
            place = self.folded.index(axis)
            self.folded[place : place + 1] = [first, second]
        return first, second

    def long(self, axes: Iterable[int]) -> list[int]:
        """Those of more than one place."""
        return [each for each in axes if self.sizes[each] > 1]

    def read(self, node: LoopNode, map_: Affine) -> Row:
        """How a member walks through what it reads by a map from its own index space."""
        radix, found = row_major(node.sizes), Row()
        for axis, stride in self.rows[node].items():
            at = next(
                place
                for place, each in enumerate(radix)
                if each <= stride and node.sizes[place] > 1
            )
            moved = map_.strides[at] * (stride // radix[at])
            if moved:
                found[axis] = moved
        return found

    def written(self, node: LoopNode) -> Row:
        """How a member walks through its own base."""
        return self.read(node, node.result) if node.is_fold else self.rows[node]

    def product(self, axes: Iterable[int]) -> int:
        """Places along some axes together."""
        result = 1
        for each in axes:
            result *= self.sizes[each]
        return result

    @property
    def kept(self) -> list[int]:
        """Axes that are not folded."""
        return [each for each in self.sizes if each not in self.folded]


def matched(
    first: Domain, first_row: Row, second: Domain, second_row: Row, elements: int
) -> list[tuple[int, int]] | None:
    """Pair the axes along which two domains count the same base, cutting both as need be.

    None if one of them does not count every element once, or no cut makes them agree.
    """
    lefts = sorted(((stride, axis) for axis, stride in first_row.items()), reverse=True)
    rights = sorted(((stride, axis) for axis, stride in second_row.items()), reverse=True)
    pairs: list[tuple[int, int]] = []
    step = 1
    while lefts and rights:
        (left_stride, left), (right_stride, right) = lefts.pop(), rights.pop()
        if left_stride != step or right_stride != step:
            return None
        paired = _paired(first, left, second, right)
        if paired is None:
            return None
        left, right, rest_left, rest_right = paired
        step *= first.sizes[left]
        pairs.append((left, right))
        if rest_left is not None:
            lefts.append((step, rest_left))
        if rest_right is not None:
            rights.append((step, rest_right))
    return pairs if not lefts and not rights and step == elements else None


def aligned(
    first: Domain, lefts: list[int], second: Domain, rights: list[int]
) -> list[tuple[int, int]] | None:
    """Pair axes that are walked in the same order (outermost first), cutting as need be."""
    lefts, rights = list(lefts), list(rights)
    pairs: list[tuple[int, int]] = []
    while lefts and rights:
        paired = _paired(first, lefts.pop(), second, rights.pop())
        if paired is None:
            return None
        left, right, rest_left, rest_right = paired
        pairs.append((left, right))
        if rest_left is not None:
            lefts.append(rest_left)
        if rest_right is not None:
            rights.append(rest_right)
    return None if lefts or rights else pairs


def _paired(
    first: Domain, left: int, second: Domain, right: int
) -> tuple[int, int, int | None, int | None] | None:
    """Two inner axes of one size, and what is left of the longer one."""
    size, other = first.sizes[left], second.sizes[right]
    if size == other:
        return left, right, None, None
    if size < other:
        if other % size:
            return None
        outer, inner = second.cut(right, size)
        return left, inner, None, outer
    if size % other:
        return None
    outer, inner = first.cut(left, other)
    return inner, right, outer, None
