"""Where temporaries lie in one arena, so that those needed at different times share memory.

Note [Memory of a plan]
    A buffer lives from the first step that touches it to the last one; each step's operands and
    results live together. Up to `BY_SIZE_MAX` buffers are placed the largest first, each at the
    lowest offset where nothing that lives at the same time lies: this comes within a few percent of
    the largest sum of live sizes. More of them are placed in the order of time, in the smallest gap
    that holds them, which takes n log n. Source: arXiv:2001.03288 (greedy by size).

    A step may say that something it writes may lie where something it reads lies. If the one ends
    and the other begins there, and they are of one size, they are one block from then on: what is
    computed in place moves less memory through the caches.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""
PAGE = 4096
LARGE_MIN = 1 << 20
"""Buffers from this size on begin at a page."""
BY_SIZE_MAX = 2048
"""Placing by size takes quadratic time."""
Step = tuple[Iterable[int], Iterable[int]]
"""Numbers of the buffers that it reads and writes."""
Pair = tuple[int, int]
"""A buffer that a step reads, and one that it may write in the same memory."""


@dataclass(frozen=True, slots=True)
class Arena:
    """Offsets of buffers, in bytes, and the size of the whole."""

    offsets: Mapping[int, int]
    nbytes: int


@dataclass(frozen=True, slots=True)
class _Block:
    """A buffer with its first and last step, and its size rounded up."""

    number: int
    size: int
    first: int
    last: int
    alignment: int


def schedule_memory(
    sizes: Mapping[int, int], steps: Sequence[Step], in_place: Sequence[Sequence[Pair]] = ()
) -> Arena:
    """Place buffers (numbers with their sizes in bytes) in an arena; others are left alone.

    A buffer that no step touches gets offset 0 and no memory. `in_place` has the pairs of each
    step; without it no two buffers of a step share memory.
    """
    apart = _blocks(sizes, steps)
    homes = _homes(sizes, apart, in_place)
    blocks = _joined(apart, homes)
    if len(blocks) <= BY_SIZE_MAX:
        offsets, end = _by_size(blocks)
    else:
        large = [block for block in blocks if block.alignment == PAGE]
        small = [block for block in blocks if block.alignment != PAGE]
        offsets, start = _by_time(large, 0)
        rest, end = _by_time(small, start)
        offsets |= rest
    return Arena({each: offsets.get(homes.get(each, each), 0) for each in sizes}, end)


def live_bytes_max(sizes: Mapping[int, int], steps: Sequence[Step]) -> int:
    """Sum of live sizes at the worst step: no arena is smaller."""
    change = [0] * (len(steps) + 1)
    for block in _blocks(sizes, steps):
        change[block.first] += block.size
        change[block.last + 1] -= block.size
    return int(np.cumsum(change).max(initial=0))


def _blocks(sizes: Mapping[int, int], steps: Sequence[Step]) -> list[_Block]:
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for place, (reads, writes) in enumerate(steps):
        for number in (*reads, *writes):
            if number in sizes:
                first.setdefault(number, place)
                last[number] = place
    blocks: list[_Block] = []
    for number, start in first.items():
        alignment = PAGE if sizes[number] >= LARGE_MIN else ALIGNMENT
        size = -(-sizes[number] // alignment) * alignment
        if size:
            blocks.append(_Block(number, size, start, last[number], alignment))
    return blocks


def _homes(
    sizes: Mapping[int, int], blocks: Sequence[_Block], in_place: Sequence[Sequence[Pair]]
) -> dict[int, int]:
    """For every buffer that is computed in place, the first one that lay there."""
    first = {each.number: each.first for each in blocks}
    last = {each.number: each.last for each in blocks}
    homes: dict[int, int] = {}
    given = set[int]()
    for place, pairs in enumerate(in_place):
        for read, written in pairs:
            if last.get(read) != place or first.get(written) != place or first[read] == place:
                continue
            if sizes[read] != sizes[written] or read in given or written in homes:
                continue
            given.add(read)
            homes[written] = homes.get(read, read)
    return homes


def _joined(blocks: Sequence[_Block], homes: Mapping[int, int]) -> list[_Block]:
    """The blocks, those of one home as one."""
    found: dict[int, _Block] = {}
    for block in sorted(blocks, key=lambda each: each.first):
        home = homes.get(block.number, block.number)
        before = found.get(home, block)
        found[home] = replace(before, number=home, last=max(before.last, block.last))
    return list(found.values())


def _by_size(blocks: list[_Block]) -> tuple[dict[int, int], int]:
    """Largest first, at the lowest free offset."""
    ordered = sorted(blocks, key=lambda block: (-block.size, block.first, block.number))
    firsts = np.array([block.first for block in ordered], np.int64)
    lasts = np.array([block.last for block in ordered], np.int64)
    starts = np.zeros(len(ordered), np.int64)
    ends = np.zeros(len(ordered), np.int64)
    offsets: dict[int, int] = {}
    for place, block in enumerate(ordered):
        meets = (firsts[:place] <= block.last) & (lasts[:place] >= block.first)
        low, high = starts[:place][meets], ends[:place][meets]
        order = np.argsort(low, kind="stable")
        at = 0
        for begin, end in zip(low[order].tolist(), high[order].tolist(), strict=True):
            if begin - at >= block.size:
                break
            at = max(at, -(-end // block.alignment) * block.alignment)
        offsets[block.number] = at
        starts[place], ends[place] = at, at + block.size
    return offsets, int(ends.max(initial=0))


@dataclass(slots=True)
class _Gaps:
    """Free stretches below `end`, by size and by both ends; neighbours are joined."""

    start: int
    end: int = 0
    _sizes: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    _by_start: dict[int, int] = field(default_factory=dict[int, int])
    _by_end: dict[int, int] = field(default_factory=dict[int, int])

    def take(self, size: int) -> int:
        """The smallest gap that is large enough; at the end if there is none."""
        place = bisect_left(self._sizes, (size, 0))
        if place == len(self._sizes):
            begin = self._by_end.get(self.end, self.end)
            if begin < self.end:
                self._remove(begin, self.end - begin)
            self.end = begin + size
            return begin
        found, begin = self._sizes[place]
        self._remove(begin, found)
        if found > size:
            self._add(begin + size, found - size)
        return begin

    def give(self, begin: int, size: int) -> None:
        """Free a stretch."""
        if begin + size in self._by_start:
            after = self._by_start[begin + size]
            self._remove(begin + size, after)
            size += after
        if begin in self._by_end:
            before = self._by_end[begin]
            self._remove(before, begin - before)
            begin, size = before, size + begin - before
        self._add(begin, size)

    def _add(self, begin: int, size: int) -> None:
        insort(self._sizes, (size, begin))
        self._by_start[begin] = size
        self._by_end[begin + size] = begin

    def _remove(self, begin: int, size: int) -> None:
        del self._sizes[bisect_left(self._sizes, (size, begin))]
        del self._by_start[begin]
        del self._by_end[begin + size]


def _by_time(blocks: list[_Block], start: int) -> tuple[dict[int, int], int]:
    """In the order of time, each in the smallest gap that holds it."""
    gaps = _Gaps(start, start)
    events: dict[int, tuple[list[_Block], list[_Block]]] = {}
    for block in blocks:
        events.setdefault(block.first, ([], []))[0].append(block)
        events.setdefault(block.last, ([], []))[1].append(block)
    offsets: dict[int, int] = {}
    for _, (born, dead) in sorted(events.items()):
        for block in sorted(born, key=lambda each: -each.size):
            offsets[block.number] = gaps.take(block.size)
        for block in dead:
            gaps.give(offsets[block.number], block.size)
    return offsets, gaps.end
