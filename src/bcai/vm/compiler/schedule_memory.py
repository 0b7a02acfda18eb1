"""Where temporaries lie in one arena, so that those needed at different times share memory.

Note [Memory of a plan]
    A buffer lives from the first step that touches it to the last one; each step's operands and
    results live together. Up to `BY_SIZE_MAX` buffers are placed the largest first, each at the
    lowest offset where nothing that lives at the same time lies: this comes within a few percent of
    the largest sum of live sizes. More of them are placed in the order of time, in the smallest gap
    that holds them, which takes n log n. Source: arXiv:2001.03288 (greedy by size).
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

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


def schedule_memory(sizes: Mapping[int, int], steps: Sequence[Step]) -> Arena:
    """Place buffers (numbers with their sizes in bytes) in an arena; others are left alone.

    A buffer that no step touches gets offset 0 and no memory.
    """
    blocks = _blocks(sizes, steps)
    if len(blocks) <= BY_SIZE_MAX:
        offsets, end = _by_size(blocks)
    else:
        large = [block for block in blocks if block.alignment == PAGE]
        small = [block for block in blocks if block.alignment != PAGE]
        offsets, start = _by_time(large, 0)
        rest, end = _by_time(small, start)
        offsets |= rest
    return Arena({number: offsets.get(number, 0) for number in sizes}, end)


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
