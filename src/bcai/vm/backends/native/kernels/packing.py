"""Operands of a contraction laid out as its tiles read them: panels of [k][width].

Note [Packed panels]
    A panel is `width` rows of the left operand (or columns of the right one) through some steps of
    k; at every k its elements are adjacent. Writing one is a copy where they already are adjacent,
    and a transposition of squares in registers where k is. Vectors are stored whole, in ascending
    k: what a vector carries beyond its panel is overwritten by the next k, so a panel needs
    `OVERHANG_BYTES` behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bcai.vm.backends.native.kernels.multiply_add import multiply_add
from bcai.vm.backends.native.launch import entry
from bcai.vm.backends.native.llvm import (
    I64,
    POINTER,
    Function,
    Module,
    Number,
    Value,
    bits_of,
)
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import DType

OVERHANG_BYTES = 64
"""What a panel's last vector may write beyond it: one register of the widest target."""

PACK = (I64, I64, POINTER, I64, I64, POINTER, I64)
"""Parameters: width, depth; source, bytes between elements of one k, bytes between k; panel, bytes
between its k."""


def pack_function(module: Module, target: Target, dtype: DType) -> Value:
    """The function, with `PACK` parameters, that writes one panel."""
    name = f"pack.{dtype.name}"
    if module.has(name):
        return module.handle(name)
    f = module.function(name, PACK, internal=True, inline=False)
    writer = _Writer(f, target, dtype)
    _, _, _, across, along, _, _ = f.arguments
    with f.either(f.equal(across, dtype.itemsize)) as (adjacent, apart):
        with adjacent:
            writer.copy()
        with apart, f.either(f.equal(along, dtype.itemsize)) as (transposed, strided):
            with transposed:
                writer.transpose()
            with strided:
                writer.element_by_element(0)
    f.give()
    return f.handle


class _Writer:
    """The body of a packing function."""

    def __init__(self, f: Function, target: Target, dtype: DType) -> None:
        self.f, self.size, self.lanes = f, dtype.itemsize, target.lanes(dtype)
        self.masks = target.masks(dtype)
        self.type = multiply_add(f, target, dtype, self.lanes).type
        self.element = multiply_add(f, target, dtype, 1).type
        self.width, self.depth, self.source, self.across, self.along, self.panel, self.step = (
            f.arguments
        )

    def at(self, place: Number, k: Number) -> Value:
        """Address of an element of the source."""
        f = self.f
        return f.offset(f.offset(self.source, f.mul(place, self.across)), f.mul(k, self.along))

    def to(self, place: Number, k: Number) -> Value:
        """Address of an element of the panel."""
        f = self.f
        return f.offset(f.offset(self.panel, f.mul(place, self.size)), f.mul(k, self.step))

    def copy(self) -> None:
        """Elements of one k are adjacent."""
        f = self.f
        with f.either(f.less(self.width, self.lanes)) as (short, long):
            with short:
                if self.masks:
                    fill = f.constant(self.type, 0.0)
                    with f.loop(0, self.depth) as k:
                        value = f.load_first(self.at(0, k.index), self.type, self.width, fill)
                        f.store(value, self.to(0, k.index))
                else:
                    self.element_by_element(0)
            with long, f.loop(0, self.depth) as k, f.loop(0, self.width, self.lanes) as group:
                start = self.group(group.index)
                f.store(f.load(self.at(start, k.index), self.type), self.to(start, k.index))

    def group(self, place: Value) -> Value:
        """Start of a vector at `place`, moved back where it would reach beyond the panel."""
        return self.f.maximum(self.f.minimum(place, self.f.sub(self.width, self.lanes)), 0)

    def transpose(self) -> None:
        """Elements of one column are adjacent: squares of lanes x lanes, then what is left."""
        f, lanes = self.f, self.lanes
        whole = f.sub(self.depth, f.rem(self.depth, lanes))
        last = f.sub(self.width, 1)
        with f.loop(0, whole, lanes) as k, f.loop(0, self.width, lanes) as group:
            start = self.group(group.index)
            square = [
                f.load(self.at(f.minimum(f.add(start, lane), last), k.index), self.type)
                for lane in range(lanes)
            ]
            for lane, vector in enumerate(transposed(f, square)):
                f.store(vector, self.to(start, f.add(k.index, lane)))
        self.element_by_element(whole)

    def element_by_element(self, start: Number) -> None:
        """The steps of k from `start` on, with any strides."""
        f = self.f
        with f.loop(start, self.depth) as k, f.loop(0, self.width) as place:
            value = f.load(self.at(place.index, k.index), self.element)
            f.store(value, self.to(place.index, k.index))


def transposed(f: Function, square: Sequence[Value]) -> list[Value]:
    """Transpose vectors as many as their lanes, a power of two.

    Note [Transposition in registers]
        First squares inside the 128-bit parts of the vectors, by interleaving two vectors (unpack
        instructions); then the parts themselves, by taking every other one of two vectors. Both
        are single instructions with a constant everywhere, which shuffles of single elements
        across a whole register are not. Source: Stone, "Parallel processing with the perfect
        shuffle", IEEE Transactions on Computers C-20(2), 1971.
    """
    lanes = len(square)
    part = max(1, min(lanes, 128 // bits_of(square[0].type)))
    low, high = _interleaving(lanes, part)
    inside = [
        _shuffled(f, square[at : at + part], low, high, spread=True) for at in range(0, lanes, part)
    ]
    even, odd = _every_other(lanes, part)
    across = [
        _shuffled(f, [group[at] for group in inside], even, odd, spread=False) for at in range(part)
    ]
    return [across[column % part][column // part] for column in range(lanes)]


def _shuffled(
    f: Function, vectors: Sequence[Value], one: list[int], other: list[int], *, spread: bool
) -> list[Value]:
    """All rounds of a shuffle (`spread`), or of its inverse, on a power of two of vectors."""
    now, half = list(vectors), len(vectors) // 2
    for _ in range(half.bit_length()):
        if spread:
            pairs = [(now[at], now[at + half]) for at in range(half)]
            now = [f.shuffle(*pair, way) for pair in pairs for way in (one, other)]
        else:
            pairs = [(now[2 * at], now[2 * at + 1]) for at in range(half)]
            now = [f.shuffle(*pair, way) for way in (one, other) for pair in pairs]
    return now


def _interleaving(lanes: int, part: int) -> tuple[list[int], list[int]]:
    """In each part: its low elements and the other vector's, in turn; the same of the high ones."""
    low, high = (
        [
            start + first + at // 2 + at % 2 * lanes
            for start in range(0, lanes, part)
            for at in range(part)
        ]
        for first in (0, part // 2)
    )
    return low, high


def _every_other(lanes: int, part: int) -> tuple[list[int], list[int]]:
    """The even parts of both vectors, and the odd ones."""
    even, odd = (
        [start + at for start in range(first, 2 * lanes, 2 * part) for at in range(part)]
        for first in (0, part)
    )
    return even, odd


@dataclass(frozen=True, slots=True)
class PackRight:
    """Packs a right operand: a unit is one panel of one matrix, through all of k.

    Arguments: source, panels; k, columns, panels a matrix, columns a panel; bytes between matrices
    of the source, between its columns, between its k.
    """

    dtype: DType

    @property
    def symbol(self) -> str:
        """Name of the entry point."""
        return f"contraction.{self.dtype.name}.pack"

    @property
    def library(self) -> str | None:
        """An object of its own, the same for every program."""
        return self.symbol

    def write(self, module: Module, target: Target) -> None:
        """Write the entry point."""
        pack = pack_function(module, target, self.dtype)
        e = entry(module, self.symbol)
        f = e.f
        source, panels = e.pointer(0), e.pointer(1)
        depth, columns, count, width, matrix, across, along = (e.number(2 + at) for at in range(7))
        step = f.mul(width, self.dtype.itemsize)
        with f.loop(e.begin, e.end) as unit:
            place = f.mul(f.rem(unit.index, count), width)
            start = f.offset(source, f.mul(f.div(unit.index, count), matrix))
            start = f.offset(start, f.mul(place, across))
            panel = f.offset(panels, f.mul(f.mul(unit.index, depth), step))
            narrow = f.minimum(f.sub(columns, place), width)
            f.call(pack, [narrow, depth, start, across, along, panel, step])
        f.give(0)
