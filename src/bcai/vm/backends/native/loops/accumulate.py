"""Accumulators in registers: 32 lanes of every fold, as vectors that go round a loop."""

from collections.abc import Callable, Sequence

from bcai.vm.backends.native.llvm import Function, Number, Value
from bcai.vm.backends.native.loops.folding import Folding, Parts, groups_of
from bcai.vm.isa.order import LANES

Groups = list[Parts | None]
"""Accumulators of one fold, by group of lanes; None is the identity."""
Full = list[Parts]
"""The same where none is the identity."""
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


def identities(foldings: Sequence[Folding], count: int) -> list[Full]:
    """Accumulators of nothing, in registers."""
    return [
        [folding.identity(count) for _ in groups]
        for folding, groups in zip(foldings, nothing(foldings, count), strict=True)
    ]


def accumulate_run(
    f: Function,
    foldings: Sequence[Folding],
    values: Values,
    count: int,
    start: Number,
    stop: Number,
    first: Value,
    sums: Sequence[Full],
) -> list[Full]:
    """Fold a run whose element `start` belongs to lane `first`, both multiples of `count`.

    If there are more than two groups of lanes, they and `stop` are multiples of 32.
    """
    two = groups_of(count) == UNORDERED
    odd = f.equal(f.rem(first, LANES), count) if two else None
    held = _turned(f, odd, sums)
    rest = f.rem(f.sub(stop, start), LANES)
    whole = f.sub(stop, rest)
    held = accumulate(f, foldings, values, count, start, whole, held)
    if two:
        before, one = f.block, [list(each) for each in held]
        with f.when(f.less(whole, stop)):
            for folding, groups, value in zip(foldings, one, values(whole), strict=True):
                groups[0] = folding.merge(groups[0], folding.parts_of(value))
            inside = f.block
        pairs = zip(flat(held), flat(one), strict=True)
        merged = [x if x is y else f.merge([(x, before), (y, inside)]) for x, y in pairs]
        held = shaped(merged, held)
    return _turned(f, odd, held)


def _turned(f: Function, odd: Value | None, sums: Sequence[Full]) -> list[Full]:
    """Accumulators whose two groups change places if a flag is set."""
    if odd is None:
        return [list(each) for each in sums]
    return [
        [
            tuple(f.b.select(odd, y, x) for x, y in zip(parts, other, strict=True))
            for parts, other in zip(groups, reversed(groups), strict=True)
        ]
        for groups in sums
    ]


def accumulate(
    f: Function,
    foldings: Sequence[Folding],
    values: Values,
    count: int,
    start: Number,
    stop: Number,
    first: Sequence[Full],
) -> list[Full]:
    """Fold whole 32s from `start` up to `stop` into accumulators."""
    with f.loop(start, stop, LANES, flat(first)) as loop:
        sums = shaped(loop.carried, first)
        for group in range(groups_of(count)):
            at = f.add(loop.index, group * count)
            for folding, held, value in zip(foldings, sums, values(at), strict=True):
                place = group % len(held)
                held[place] = folding.merge(held[place], folding.parts_of(value))
        loop.following[:] = flat(sums)
    return shaped(loop.following, first)


def accumulate_rest(
    f: Function,
    foldings: Sequence[Folding],
    values: Values,
    count: int,
    length: int,
    sums: Sequence[Sequence[Parts | None]],
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
    f: Function,
    sums: Sequence[Sequence[Parts | None]],
    before: Value,
    others: Sequence[Sequence[Parts | None]],
    inside: Value,
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


def flat(sums: Sequence[Sequence[Parts]]) -> list[Value]:
    """Accumulators as values that go round a loop."""
    return [part for groups in sums for parts in groups for part in parts]


def shaped(values: Sequence[Value], like: Sequence[Sequence[Parts]]) -> list[Full]:
    """Values that went round a loop as accumulators again."""
    left = iter(values)
    return [[tuple(next(left) for _ in parts) for parts in groups] for groups in like]
