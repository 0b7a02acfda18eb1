"""Which input each tap of a sliding window reads: the geometry of convolutions and pools."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bcai.base.errors import VerifyError
from bcai.vm.isa.types import Array

Table = npt.NDArray[np.int64]
"""`int64[kernel, out]`: the place along one axis that a tap reads for an output, or -1 for none."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window that slides over spatial axes. All fields have one entry an axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding_before: tuple[int, ...]
    padding_after: tuple[int, ...]
    dilation: tuple[int, ...]

    def check(self, sizes: tuple[int, ...]) -> None:
        """Raise VerifyError unless every field fits the spatial sizes."""
        rank = len(sizes)
        for name, least in (
            ("kernel", 1),
            ("stride", 1),
            ("padding_before", 0),
            ("padding_after", 0),
            ("dilation", 1),
        ):
            values: tuple[int, ...] = getattr(self, name)
            if len(values) != rank or min(values, default=least) < least:
                raise VerifyError(f"{name} is {values}, expected {rank} values of at least {least}")

    def output_sizes(self, sizes: tuple[int, ...], *, ceil: bool = False) -> tuple[int, ...]:
        """Spatial sizes of the result. Raises VerifyError where the window does not fit.

        With `ceil` a last window may hang over the end, if it starts inside input or padding.
        """
        self.check(sizes)
        found: list[int] = []
        for axis, size in enumerate(sizes):
            padded = size + self.padding_before[axis] + self.padding_after[axis]
            room = padded - self.dilation[axis] * (self.kernel[axis] - 1) - 1
            if room < 0:
                raise VerifyError(
                    f"a window of {self.dilation[axis] * (self.kernel[axis] - 1) + 1} does not fit "
                    f"an axis of {padded} with its padding"
                )
            stride = self.stride[axis]
            count = room // stride + 1
            if ceil and room % stride and count * stride < size + self.padding_before[axis]:
                count += 1
            found.append(count)
        return tuple(found)

    def tables(self, sizes: tuple[int, ...], outputs: tuple[int, ...]) -> list[Table]:
        """For each axis, the input place that tap k of output o reads."""
        found: list[Table] = []
        for axis, (size, output) in enumerate(zip(sizes, outputs, strict=True)):
            tap = np.arange(self.kernel[axis])[:, None] * self.dilation[axis]
            place = np.arange(output)[None, :] * self.stride[axis] + tap - self.padding_before[axis]
            found.append(np.where((place >= 0) & (place < size), place, -1))
        return found

    def transposed_tables(self, sizes: tuple[int, ...], outputs: tuple[int, ...]) -> list[Table]:
        """For each axis, the *output* place from which tap k wrote to an input place."""
        found: list[Table] = []
        for axis, (size, output) in enumerate(zip(sizes, outputs, strict=True)):
            tap = np.arange(self.kernel[axis])[:, None] * self.dilation[axis]
            place = np.arange(size)[None, :] + self.padding_before[axis] - tap
            quotient, rest = np.divmod(place, self.stride[axis])
            inside = (rest == 0) & (quotient >= 0) & (quotient < output)
            found.append(np.where(inside, quotient, -1))
        return found


def read_windows(x: Array, tables: Sequence[Table], fill: float = 0.0) -> Array:
    """Read every tap: `T[n, c, *sizes]` to `T[n, c, *kernel, *out]`; none reads `fill`."""
    rank = len(tables)
    padded = np.pad(
        x, [(0, 0), (0, 0)] + [(0, 1)] * rank, constant_values=np.asarray(fill, x.dtype)
    )
    shapes = np.ix_(*(np.arange(table.size) for table in tables))
    index = [table.reshape(-1)[each] for table, each in zip(tables, shapes, strict=True)]
    read = padded[(slice(None), slice(None), *index)]
    split = read.reshape(*x.shape[:2], *(n for table in tables for n in table.shape))
    taps = range(2, 2 + 2 * rank, 2)
    return split.transpose(0, 1, *taps, *(axis + 1 for axis in taps))


def flat_columns(read: Array, rank: int) -> Array:
    """Bring `[n, c, *kernel, *out]` to `[n, c * kernel, out]`, both row-major."""
    taps = math.prod(read.shape[1 : 2 + rank])
    return read.reshape(read.shape[0], taps, math.prod(read.shape[2 + rank :]))
