"""How a matrix product is shared out over threads."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapreplace

from bcai.vm.backends.native.share import CHUNKS_PER_THREAD

ROWS_COST = 0.2
"""Time to pack a panel of rows, in parts of the time of a tile on it."""
UNIT_COST = 0.2
"""Time to begin a unit, in parts of the time of a tile."""
GOOD_ENOUGH = 1.02
"""A cut that ends later than the best one by less than this is as good."""
BLOCKS_TRIED = 32
"""Every number of blocks of columns up to this is tried: as many as eight threads want."""


@dataclass(frozen=True, slots=True)
class Panels:
    """Panels of rows and of columns of one matrix, matrices, and panels of rows of a block."""

    rows: int
    columns: int
    matrices: int
    rows_max: int


def cut(
    panels: Panels, useful: int, threads: int, packing_cost: float, free_panels: int
) -> tuple[int, int]:
    """Blocks of rows and of columns of one matrix: few if large, some for every thread.

    Of the ways to cut it after which the last thread ends about first, that with the most blocks:
    the more there are, the less does a thread that is held up keep the others waiting.

    Parameters
    ----------
    useful
        Pieces that are worth a thread.
    packing_cost
        Time for a unit to pack a panel of columns, in parts of the time of a tile on it.
    free_panels
        Panels of columns of a block up to which its rows cost nothing but their tiles.
    """
    least = -(-panels.rows // panels.rows_max)
    useful = min(threads * CHUNKS_PER_THREAD, useful)
    if threads == 1 or useful < 2 or panels.matrices >= useful:
        return least, 1

    def end(rows: int, columns: int) -> float:
        sizes = [
            UNIT_COST
            + height * (width + (ROWS_COST if width > free_panels else 0.0))
            + width * packing_cost
            for width in _even(panels.columns, columns)
            for height in _even(panels.rows, rows)
        ]
        return last_end(sizes * panels.matrices, threads)

    ends: dict[tuple[int, int], float] = {}
    for count in range(threads, useful + threads, threads):
        wanted = -(-count // panels.matrices)
        for columns in _column_blocks(min(panels.columns, wanted), wanted):
            fewest = max(least, min(panels.rows, -(-wanted // columns)))
            in_chunks = fewest if fewest <= useful else -(-fewest // useful) * useful
            for rows in {fewest, min(panels.rows, in_chunks)}:
                if (rows, columns) not in ends:
                    ends[rows, columns] = end(rows, columns)
    good = GOOD_ENOUGH * min(ends.values())
    return max((each for each, last in ends.items() if last <= good), key=math.prod)


def _column_blocks(most: int, wanted: int) -> list[int]:
    """Blocks of columns to be tried: all while they are few, else the fewest for as many of rows.

    There are about two times the root of `wanted`: a machine has hundreds of threads.
    """
    fewest = {-(-wanted // rows) for rows in range(1, wanted // BLOCKS_TRIED + 1)}
    tried = {*range(1, min(most, BLOCKS_TRIED) + 1), *fewest, most}
    return sorted(each for each in tried if each <= most)


def _even(panels: int, blocks: int) -> list[int]:
    """Panels of each block."""
    return [panels * (at + 1) // blocks - panels * at // blocks for at in range(blocks)]


def last_end(sizes: Sequence[float], threads: int) -> float:
    """When the last thread ends, if each takes the next chunk of units as it is free."""
    chunk = -(-len(sizes) // (threads * CHUNKS_PER_THREAD))
    ends = [0.0] * threads
    for start in range(0, len(sizes), chunk):
        heapreplace(ends, ends[0] + sum(sizes[start : start + chunk]))
    return max(ends)


def grain_of(units: int, least: float, threads: int) -> int:
    """At least so many units for a thread, and parts that come out alike."""
    parts = min(int(units / max(least, 1)), threads * CHUNKS_PER_THREAD)
    parts -= parts % threads if parts > threads else 0
    return -(-units // max(1, parts))
