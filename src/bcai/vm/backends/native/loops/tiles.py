"""Tiles: what is contiguous along another axis than the result is transposed in registers.

Note [Transposing tiles]
    Vectors run along the row, the axis along which the result is contiguous. An operand that is
    contiguous along the last outer axis is read as a square tile, T vectors of T elements along
    that axis, and the tile is transposed by log2 T rounds of shuffles. Short bodies then go on from
    registers, others from the thread's memory. The last tile of an axis overlaps the one before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bcai.vm.backends.native.llvm import Function, Number, Value
from bcai.vm.backends.native.loops.cost import instructions
from bcai.vm.backends.native.loops.form import Form, Read
from bcai.vm.backends.native.loops.schedule import Pass
from bcai.vm.backends.native.loops.writer import Cursor, Writer
from bcai.vm.backends.native.target import Target

TILE_MAX = 16
DIRECT_INSTRUCTIONS_MAX = 3
"""Of a body that is written once for each row of a tile."""


@dataclass(slots=True)
class Tiles:
    """Writes the only pass of a form for some of the indices of its last outer axis.

    Attributes
    ----------
    settle
        Writes the nodes that are known once the outer axes are.
    memory
        Addresses of tiles, by node; empty for short bodies.
    """

    w: Writer
    pass_: Pass
    settle: Callable[[Cursor], None]
    memory: Mapping[int, Value]

    def write(self, cursor: Cursor, low: Number, high: Number) -> None:
        """Write tiles for the whole row and for `low` to `high` of the last outer axis."""
        f, form, side = self.w.f, self.w.form, self.w.count
        length, beside = form.row[0], form.outer[-1]
        with f.loop(0, length, side) as along:
            at = f.minimum(along.index, length - side) if length % side else along.index
            with f.loop(low, high, side) as across:
                first = f.minimum(across.index, beside - side) if beside % side else across.index
                self._tile(self.w.moved(cursor, len(form.outer) - 1, first), at)

    def _tile(self, cursor: Cursor, at: Value) -> None:
        f, w, side = self.w.f, self.w, self.w.count
        axis = len(w.form.outer) - 1
        start = w.moved(cursor, axis + 1, at)
        tiles = {each: self._transposed(each, start) for each in transposed_reads(w.form)}
        if not self.memory:
            for line in range(side):
                moved = w.moved(cursor, axis, line)
                self.settle(moved)
                w.vector(self.pass_, moved, at, given={n: tile[line] for n, tile in tiles.items()})
            return
        for number, tile in tiles.items():
            for line, value in enumerate(tile):
                dtype = w.form.dtype(number)
                w.store_scratch(self.memory[number], value, dtype, line * side)
        with f.loop(0, side) as loop:
            moved, place = w.moved(cursor, axis, loop.index), f.mul(loop.index, side)
            self.settle(moved)
            given = {
                number: w.load_scratch(memory, w.form.dtype(number), place)
                for number, memory in self.memory.items()
            }
            w.vector(self.pass_, moved, at, given=given)

    def _transposed(self, number: int, start: Cursor) -> list[Value]:
        """Vectors along the row of an operand that is contiguous along the last outer axis."""
        w, axis = self.w, len(self.w.form.outer)
        lines = [w.load_along(number, w.moved(start, axis, line)) for line in range(self.w.count)]
        return transposed(w.f, lines)


def transposed(f: Function, lines: Sequence[Value]) -> list[Value]:
    """The columns of a square of vectors."""
    found, side = list(lines), len(lines)
    half = side // 2
    while half:
        swapped = list(found)
        for line in range(side):
            if line & half:
                continue
            a, b = found[line], found[line + half]
            low = [place if not place & half else side + place - half for place in range(side)]
            high = [place + half if not place & half else side + place for place in range(side)]
            swapped[line], swapped[line + half] = f.shuffle(a, b, low), f.shuffle(a, b, high)
        found, half = swapped, half // 2
    return found


def transposed_reads(form: Form) -> list[int]:
    """Operands that are contiguous along the last outer axis and not along the row."""
    axis = len(form.outer) - 1
    return [
        number
        for number, node in enumerate(form.nodes)
        if isinstance(node, Read) and is_transposed(node.access.strides, axis)
    ]


def is_transposed(strides: Sequence[int], axis: int) -> bool:
    """Whether vectors should be read along `axis` rather than along the last one."""
    return strides[axis] == 1 and strides[-1] not in (-1, 0, 1)


def is_direct(form: Form, pass_: Pass, target: Target) -> bool:
    """Whether the body is short enough to be written for each row of a tile."""
    work = sum(instructions(form.nodes[each], target) for each in pass_.order)
    return work <= DIRECT_INSTRUCTIONS_MAX
