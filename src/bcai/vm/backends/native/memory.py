"""Blocks of memory for arenas and outputs: mapped once, used again, given back when unused.

Note [Pooled blocks]
    glibc unmaps a large block when it is freed, and the next one is faulted in page by page: in a
    training loop that costs more than the arithmetic. So a block lives as long as an array uses it
    and then goes to the pool, from which the next run takes it. A block is never cleared: every
    element of an output is written.
"""

import ctypes
import mmap
from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from bcai.base.units import MIB
from bcai.vm.isa.types import Array

PAGE = mmap.PAGESIZE
HUGE_PAGE = 2 * MIB
POOLED_BYTES_MIN = 64 * 1024
"""Smaller arrays are NumPy's own: its allocator keeps those."""
POOLED_BYTES_MAX = 4096 * MIB
_PRIVATE = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)


class Block:
    """A stretch of private memory, aligned to a page, or to a huge page if it holds one."""

    __slots__ = ("_map", "_view", "address", "nbytes")

    def __init__(self, nbytes: int) -> None:
        huge = nbytes >= HUGE_PAGE
        length = -(-max(nbytes, 1) // PAGE) * PAGE + (HUGE_PAGE - PAGE if huge else 0)
        self._map = mmap.mmap(-1, length, flags=_PRIVATE)
        self._view = (ctypes.c_char * length).from_buffer(self._map)
        start = ctypes.addressof(self._view)
        self.address = -(-start // HUGE_PAGE) * HUGE_PAGE if huge else start
        """Of the first byte."""
        self.nbytes = nbytes
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):  # a kernel without huge pages
                self._map.madvise(mmap.MADV_NOHUGEPAGE)  # what is left over would grow to one
                if huge:
                    whole = nbytes // HUGE_PAGE * HUGE_PAGE
                    self._map.madvise(mmap.MADV_HUGEPAGE, self.address - start, whole)

    def array(self, dtype: "np.dtype[Any]", shape: Sequence[int], offset: int = 0) -> Array:
        """The memory as an array that keeps the block alive."""
        start = self.address - ctypes.addressof(self._view) + offset
        return np.ndarray(tuple(shape), dtype, buffer=self._map, offset=start)


def map_block(nbytes: int) -> Block:
    """A new block, all zero. Raises MemoryError."""
    try:
        return Block(nbytes)
    except (OSError, ValueError, OverflowError) as error:
        raise MemoryError(f"no {nbytes} bytes of memory to be had") from error


class _Lease:
    """Keeps a block for the arrays made from it; when the last one dies, the block is free."""

    __slots__ = ("__array_interface__", "_block", "_pool")

    def __init__(
        self, pool: "BlockPool", block: Block, typestr: str, shape: tuple[int, ...]
    ) -> None:
        self._pool, self._block = pool, block
        self.__array_interface__ = {
            "version": 3,
            "typestr": typestr,
            "shape": shape,
            "data": (block.address, False),
        }

    def __del__(self) -> None:
        self._pool.put(self._block)


class BlockPool:
    """Blocks that nobody uses, by size. Any thread may take and put, also while collecting garbage.

    Parameters
    ----------
    bytes_max
        What lies unused at most; a block that does not fit is unmapped.
    """

    def __init__(self, bytes_max: int = POOLED_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        # Needs no global name: the last arrays die when this module's are gone already.
        self._free: defaultdict[int, deque[Block]] = defaultdict(deque)

    @property
    def bytes_free(self) -> int:
        """Bytes that lie unused."""
        return sum(nbytes * len(blocks) for nbytes, blocks in list(self._free.items()))

    def empty(self, dtype: "np.dtype[Any]", shape: tuple[int, ...], nbytes: int) -> Array:
        """An array with any content. Raises MemoryError."""
        if nbytes < POOLED_BYTES_MIN:
            return np.empty(shape, dtype)
        named = dtype.kind != "V"  # NumPy knows bfloat16 by no text
        typestr = dtype.str if named else f"<i{dtype.itemsize}"
        array: Array = np.asarray(_Lease(self, self.take(nbytes), typestr, shape))
        return array if named else array.view(dtype)

    def aligned(self, nbytes: int) -> Array:
        """Bytes with any content, from the start of a page on. Raises MemoryError."""
        return np.asarray(_Lease(self, self.take(nbytes), "|u1", (nbytes,)))

    def take(self, nbytes: int) -> Block:
        """A block with any content. Raises MemoryError."""
        try:
            return self._free[nbytes].pop()
        except IndexError:
            pass
        try:
            return map_block(nbytes)
        except MemoryError:
            self.trim()
            return map_block(nbytes)

    def put(self, block: Block) -> None:
        """Give a block back. No lock: this may run in the middle of anything on this thread."""
        if self.bytes_free + block.nbytes <= self._bytes_max:
            self._free[block.nbytes].append(block)

    def trim(self) -> None:
        """Unmap what is unused."""
        self._free.clear()


def address_of(array: Array) -> int:
    """Address of an array's first element."""
    address: int = array.__array_interface__["data"][0]
    return address
