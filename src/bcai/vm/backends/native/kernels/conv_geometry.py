"""Where the elements of a convolution lie: spatial axes, padded copies, boxes of a register tile.

All three contractions of a convolution are written as one form:

    result[row, column] = sum over k of left[at(row) + offset(k)] * right[k, column]

`left` is a padded copy of an image (or the image itself), of which single elements are broadcast;
`right` is packed in panels, along whose columns the vectors lie. What is a row, a column and a k:

    contraction       row            column          k
    Conv              place          output channel  (channel, *tap)
    ConvInputGrad     place          channel         (output channel, *tap)
    ConvWeightGrad    (channel, tap) output channel  (sample, *place)

Spatial axes are always three: (outer, middle, inner), of which those that are missing have size 1.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

Three = tuple[int, int, int]


def three(sizes: tuple[int, ...], fill: int) -> Three:
    """One to three spatial axes as (outer, middle, inner); two are outer and inner."""
    if len(sizes) == 1:
        return fill, fill, sizes[0]
    if len(sizes) == 2:
        return sizes[0], fill, sizes[1]
    return sizes[0], sizes[1], sizes[2]


@dataclass(frozen=True, slots=True)
class Grid:
    """Windows over an image of `channels`, axis by axis (outer, middle, inner).

    Attributes
    ----------
    source
        Sizes of the image in memory.
    spread
        Distance of its elements in the padded image; zeros lie between them.
    before
        Place of the first element in the padded image; negative where the image is cropped.
    padded
        Sizes of the padded image.
    kernel, dilation, stride
        Taps, their distance, and the distance of windows.
    outputs
        How many windows.
    mirrored
        Tap t reads at `(kernel - 1 - t) * dilation`, as the gradient of the input does.
    """

    channels: int
    source: Three
    spread: Three
    before: Three
    padded: Three
    kernel: Three
    dilation: Three
    stride: Three
    outputs: Three
    mirrored: bool = False

    @property
    def taps(self) -> int:
        """Taps of one window in one channel."""
        return math.prod(self.kernel)

    @property
    def places(self) -> int:
        """Windows of one image."""
        return math.prod(self.outputs)

    @property
    def is_plain(self) -> bool:
        """Whether the image can be read where it lies."""
        return self.spread == (1, 1, 1) and self.before == (0, 0, 0) and self.padded == self.source

    @property
    def is_spread(self) -> bool:
        """Whether zeros lie between the elements of the image."""
        return self.spread != (1, 1, 1)

    def rows_read(self, count: int) -> int:
        """Outer places that `count` windows after one another read."""
        return (count - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] + 1

    def outer_tap(self, tap: int) -> int:
        """Outer places from the start of a window to a tap."""
        return (self.kernel[0] - 1 - tap if self.mirrored else tap) * self.dilation[0]

    def tap_offset(self, tap: Three) -> int:
        """Elements from the start of a window to a tap."""
        if self.mirrored:
            tap = _three(k - 1 - t for k, t in zip(self.kernel, tap, strict=True))
        return sum(t * p for t, p in zip(tap, self.tap_pitches, strict=True))

    def tap_offsets(self) -> list[int]:
        """`tap_offset` of every tap, row-major."""
        taps = product(*(range(each) for each in self.kernel))
        return [self.tap_offset((outer, middle, inner)) for outer, middle, inner in taps]

    @property
    def pitches(self) -> Three:
        """Elements between neighbours of the padded image, axis by axis."""
        return self.padded[1] * self.padded[2], self.padded[2], 1

    @property
    def window_pitches(self) -> Three:
        """Elements between neighbouring windows, axis by axis."""
        return _three(p * s for p, s in zip(self.pitches, self.stride, strict=True))

    @property
    def tap_pitches(self) -> Three:
        """Elements between neighbouring taps, axis by axis."""
        return _three(p * d for p, d in zip(self.pitches, self.dilation, strict=True))

    def flattened(self) -> "Grid":
        """The same with the axes in one, where windows are single places of a plain image."""
        if not (self.is_plain and self.taps == 1 and self.stride == (1, 1, 1)):
            return self
        one: Three = (1, 1, 1)
        size: Three = (1, 1, math.prod(self.source))
        return Grid(self.channels, size, one, (0, 0, 0), size, one, one, one, size)


def _three(values: Iterator[int]) -> Three:
    a, b, c = values
    return a, b, c


@dataclass(frozen=True, slots=True)
class Split:
    """`total` cut into pieces of `large`, then of `small`: sizes of which there are two at most."""

    total: int
    large: int
    count_large: int
    small: int
    count_small: int

    @property
    def pieces(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """(size, how many) of the large pieces, and of the small ones that follow."""
        return (self.large, self.count_large), (self.small, self.count_small)


def even_split(total: int, most: int) -> Split:
    """Pieces of at most `most` that differ by one at most."""
    count = -(-total // most)
    small = total // count
    extra = total % count
    return Split(total, small + 1, extra, small, count - extra)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a contraction: a grid of `sizes`, `pitches` elements of `left` apart.

    Their totals lie `results` rows apart.
    """

    sizes: tuple[int, ...]
    pitches: tuple[int, ...]
    results: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many rows."""
        return math.prod(self.sizes)

    def split(self, most: int) -> tuple[int, Split]:
        """Cut the grid in boxes of at most `most` rows: along which axis, and how.

        A box is whole along the axes after it and one thick along those before it.
        """
        axis, whole = len(self.sizes) - 1, 1
        while axis > 0 and whole * self.sizes[axis] * 2 <= most:
            whole *= self.sizes[axis]
            axis -= 1
        return axis, even_split(self.sizes[axis], max(1, most // whole))

    def box(self, axis: int, piece: int) -> list[tuple[int, int]]:
        """Where the rows of a box lie from its first one: in elements of `left`, and in totals."""
        found = [(at * self.pitches[axis], at * self.results[axis]) for at in range(piece)]
        for after in range(axis + 1, len(self.sizes)):
            found = [
                (left + at * self.pitches[after], result + at * self.results[after])
                for left, result in found
                for at in range(self.sizes[after])
            ]
        return found


def adjacent_rows(sizes: tuple[int, ...], pitches: tuple[int, ...]) -> Rows:
    """Rows whose totals lie one after the other."""
    results = tuple(math.prod(sizes[axis + 1 :]) for axis in range(len(sizes)))
    return Rows(sizes, pitches, results)
