"""How a loop is cut into units of work, and what a kernel needs of the thread's memory.

Note [Units of a loop]
    The first `axes` outer axes, flattened, times blocks along the vectors where rows are few: as
    many as make a good number of even pieces. Axes after those are loops within a unit. A block is
    a multiple of the vectors that are written side by side; the last one takes what is left over,
    so that no two units store the same element.
"""

import math
from dataclasses import dataclass

from bcai.vm.backends.native.loops.cost import element_ns
from bcai.vm.backends.native.loops.form import Form, Read
from bcai.vm.backends.native.loops.lane_units import lane_units
from bcai.vm.backends.native.loops.tiles import TILE_MAX
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import Apply, Fold
from bcai.vm.isa.order import CHUNK, LANES
from bcai.vm.isa.types import DType

COLUMN_UNITS_MIN = 4
"""Blocks of columns from which they stay as large as they may."""
TILES_BESIDE = 4
"""Tiles that one unit has across the row."""
UNITS_MIN = 64
"""Units from which more would not be shared out more evenly."""
BLOCK = 4096
"""Elements of a block along the vectors."""
COLUMN_BYTES = 512
"""Of a block of columns: 32 lanes of it fit in the first cache."""


@dataclass(frozen=True, slots=True)
class Shares:
    """The cut of a loop into units.

    Attributes
    ----------
    axes
        Outer axes that are flattened into the number of a unit.
    rows
        Product of their sizes.
    blocks, block
        Pieces of the axis that vectors run along, and elements of all but the last one.
    width
        Elements of the last and largest one, in whole vectors.
    unit_ns
        Time of one unit, roughly.
    """

    axes: int
    rows: int
    blocks: int
    block: int
    width: int
    unit_ns: float

    @property
    def units(self) -> int:
        """How many there are."""
        return self.rows * self.blocks


def vector_count(form: Form, target: Target) -> int:
    """Elements of a vector: what a register holds of the main type, and no more than the row."""
    sizes: set[int] = set()
    for node in form.nodes:
        if isinstance(node, Read):
            sizes.add(_register_bytes(node.access.dtype))
        elif isinstance(node, (Apply, Fold)):
            sizes.add(_register_bytes(node.dtype))
    computed = {size for size in sizes if size >= 4} or sizes or {_least(form)}
    main = 4 if 4 in computed else max(computed)
    count = target.vector_bytes // main
    if form.folds:
        count = min(count, LANES)
    size = form.vector_size
    if form.tiles:
        size = min(size, form.outer[-1], TILE_MAX)
    return max(1, min(count, 1 << (max(1, size).bit_length() - 1)))


def _register_bytes(dtype: DType) -> int:
    return max(dtype.itemsize, 4) if dtype.is_float else dtype.itemsize


def _least(form: Form) -> int:
    return min(each.access.dtype.itemsize for each in form.stores)


def shares(form: Form, target: Target) -> Shares:
    """Cut a loop into units."""
    count = vector_count(form, target)
    each_ns = element_ns(form, target, count)
    walked = form.walked
    axes, rows = 0, 1
    while (rows < UNITS_MIN or form.partial) and axes < len(walked):
        rows *= walked[axes]
        axes += 1
    elements = math.prod((*form.outer, *form.row))
    blocks, block = 1, form.block_size
    if form.columns and form.partial:
        blocks, block = lane_units(form), form.block_size
    elif form.columns:
        main = max(each.access.dtype.itemsize for each in form.stores)
        block = max(count, COLUMN_BYTES // main)
        while block > 2 * count and rows * (form.block_size // block) < COLUMN_UNITS_MIN:
            block //= 2
        blocks = max(1, form.block_size // block)
    elif form.partial:
        blocks, block = -(-form.block_size // CHUNK), CHUNK
    elif form.tiles:
        block = TILES_BESIDE * count
        blocks = max(1, form.block_size // block)
    elif not form.folds and rows < UNITS_MIN and axes == len(walked):
        block = BLOCK
        blocks = max(1, form.block_size // block)
    width = -(-(form.block_size - (blocks - 1) * block) // count) * count
    return Shares(axes, rows, blocks, block, width, elements * each_ns / max(1, rows * blocks))
