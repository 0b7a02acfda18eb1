"""Accumulators in registers: 32 lanes of every fold, as vectors that go round a loop."""

from collections.abc import Callable, Sequence

from bcai.vm.backends.native.llvm import Function, Number, Value
from bcai.vm.backends.native.loops.folding import Folding, Parts, groups_of
from bcai.vm.isa.order import LANES

Groups = list[Parts | None]
"""Accumulators of one fold, by group of lanes; None is the identity."""
Values = Callable[[Value], list[Value]]
"""Writes the operands of the folds for the vector at an index."""

UNORDERED = 2
"""Accumulators of a fold that knows no order."""


def nothing(foldings: Sequence[Folding], count: int) -> list[Groups]:
    """Accumulators that hold nothing yet."""
    return [
        [None] * (groups_of(count) if each.ordered else min(UNORDERED, groups_of(count)))
        for each in foldings
    ]


def accumulate(
    f: Function,
    foldings: Sequence[Folding],
    values: Values,
    count: int,
    start: Number,
    stop: Number,
) -> list[Groups]:
    """Fold whole 32s from `start` up to `stop` into accumulators that hold nothing yet."""
    empty = nothing(foldings, count)
    first = [
        [folding.identity(count) for _ in groups]
        for folding, groups in zip(foldings, empty, strict=True)
    ]
    with f.loop(start, stop, LANES, _flat(first)) as loop:
        sums = _shaped(loop.carried, first)
        for group in range(groups_of(count)):
            at = f.add(loop.index, group * count)
            for folding, held, value in zip(foldings, sums, values(at), strict=True):
                place = group % len(held)
                held[place] = folding.merge(held[place], folding.parts_of(value))
        loop.following[:] = _flat(sums)
    return [list(each) for each in _shaped(loop.following, first)]


def accumulate_rest(
    f: Function,
    foldings: Sequence[Folding],
    values: Values,
    count: int,
    length: int,
    sums: Sequence[Groups],
) -> list[Groups]:
    """Fold the elements of a row of `length` after its last whole 32."""
    rest = length % LANES
    found = [list(each) for each in sums]
    for group in range(-(-rest // count)):
        fresh = min(count, rest - group * count)
        at = length - rest + group * count if fresh == count else length - count
        for folding, held, value in zip(foldings, found, values(f.number(at)), strict=True):
            none, parts = folding.identity(count), folding.parts_of(value)
            if fresh < count:
                lanes = [*range(count - fresh, count), *range(count, 2 * count - fresh)]
                parts = tuple(
                    f.shuffle(each, absent, lanes) for each, absent in zip(parts, none, strict=True)
                )
            place = group % len(held)
            held[place] = folding.merge(held[place] or none, parts)
    return found


def joined(
    f: Function, sums: Sequence[Groups], before: Value, others: Sequence[Groups], inside: Value
) -> list[Groups]:
    """Accumulators of two ways through the code."""
    return [
        [
            None
            if a is None or b is None
            else tuple(f.merge([(x, before), (y, inside)]) for x, y in zip(a, b, strict=True))
            for a, b in zip(groups, more, strict=True)
        ]
        for groups, more in zip(sums, others, strict=True)
    ]


def _flat(sums: Sequence[Sequence[Parts]]) -> list[Value]:
    return [part for groups in sums for parts in groups for part in parts]


def _shaped(values: Sequence[Value], like: Sequence[Sequence[Parts]]) -> list[list[Parts]]:
    left = iter(values)
    return [[tuple(next(left) for _ in parts) for parts in groups] for groups in like]
