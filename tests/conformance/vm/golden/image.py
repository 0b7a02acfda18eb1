"""Launches and all that they touch as one block of memory, which runs wherever it is loaded.

Note [Memory image]
    A header of four numbers, then buffers, scratch memory and lists of arguments, each aligned to
    64 bytes. Addresses count from the image's own start; before it runs, its own address is added
    to each of them. A call is five numbers: kernel, place of its arguments, begin, end, place of
    its scratch memory; what the kernel returns takes the place of the first. The header says where
    the calls and the places of addresses begin, and how many there are of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bcai.vm.backends.native.launch import Address, Kernel, Launch
from bcai.vm.isa.types import Array

HEADER = 4
CALL = 5
POISON = 0xFF
"""Fills what nobody has written: as a float of any format it is not a number."""


@dataclass(frozen=True, slots=True)
class Image:
    """The block, and what is where in it."""

    memory: Array
    """uint8[n]."""
    kernels: tuple[Kernel, ...]
    buffers: tuple[int, ...]
    """Places of the buffers."""
    calls: int
    """Place of the calls."""
    addresses: tuple[int, ...]
    """Places that hold an address."""
    count: int
    """Number of calls."""

    def call(self, memory: Array, index: int) -> Array:
        """The five numbers of a call."""
        start = self.calls + 8 * CALL * index
        return memory[start : start + 8 * CALL].view(np.int64)


class _Writer:
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, content: bytes) -> int:
        place = self.size
        padded = content + bytes(-len(content) % 64)
        self.parts.append(padded)
        self.size += len(padded)
        return place

    def numbers(self, values: Sequence[int]) -> int:
        return self.add(np.array(values, np.int64).tobytes())


def lay_out(
    launches: Sequence[Launch], sizes: Sequence[int], contents: Sequence[bytes], pieces: int
) -> Image:
    """Lay out launches on buffers of these sizes, of which the first have these contents.

    Each launch is cut in up to `pieces` calls of uneven length, the last units first.
    """
    writer = _Writer()
    writer.numbers([0] * 8)
    filled = [*contents, *(bytes([POISON]) * size for size in sizes[len(contents) :])]
    buffers = tuple(map(writer.add, filled))
    kernels = tuple(dict.fromkeys(launch.kernel for launch in launches))
    addresses: list[int] = []
    calls: list[int] = []
    for launch in launches:
        slots = [
            buffers[each.buffer] + each.offset if isinstance(each, Address) else each
            for each in launch.arguments
        ]
        arguments = writer.numbers(slots or [0])
        addresses += [
            arguments + 8 * slot
            for slot, each in enumerate(launch.arguments)
            if isinstance(each, Address)
        ]
        for begin, end in reversed(cut(launch.units, pieces)):
            scratch = writer.add(bytes([POISON]) * max(launch.scratch_bytes, 8))
            calls += [kernels.index(launch.kernel), arguments, begin, end, scratch]
    call_place, address_place = writer.numbers(calls or [0]), writer.numbers(addresses or [0])
    memory = np.frombuffer(bytearray(b"".join(writer.parts)), np.uint8)
    count = len(calls) // CALL
    header = (call_place, count, address_place, len(addresses))
    memory[: 8 * HEADER].view(np.int64)[:] = header
    return Image(memory, kernels, buffers, call_place, tuple(addresses), count)


def cut(units: int, pieces: int) -> list[tuple[int, int]]:
    """Cut [0, units) in up to `pieces` ranges, none of them empty, each longer than the last."""
    total = pieces * (pieces + 1) // 2
    ends = [units * (each * (each + 1) // 2) // total for each in range(pieces + 1)]
    return [(begin, end) for begin, end in pairwise(ends) if begin < end]
