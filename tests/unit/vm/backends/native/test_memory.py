"""Blocks that are used again, and only when nobody sees them any more."""

import gc
import mmap
from pathlib import Path

import numpy as np
import pytest

from bcai.vm.backends.native.memory import (
    HUGE_PAGE,
    PAGE,
    POOLED_BYTES_MIN,
    BlockPool,
    address_of,
    map_block,
)
from bcai.vm.isa.types import DType

BYTE = np.dtype(np.uint8)
LARGE = 4 * POOLED_BYTES_MIN


@pytest.mark.parametrize("nbytes", [0, 1, 4096, LARGE, HUGE_PAGE, 3 * HUGE_PAGE + 1])
def test_blocks_are_zero_aligned_and_whole(nbytes: int) -> None:
    block = map_block(nbytes)
    assert block.address % (HUGE_PAGE if nbytes >= HUGE_PAGE else 4096) == 0
    array = block.array(BYTE, (nbytes,))
    del block
    assert not array.any()
    array[:] = 7
    assert array.sum() == 7 * nbytes


def test_what_cannot_be_had_is_a_memory_error() -> None:
    with pytest.raises(MemoryError):
        map_block(1 << 62)


def test_a_block_is_used_again_when_its_last_array_is_gone() -> None:
    pool = BlockPool()
    array = pool.empty(np.dtype(np.float32), (LARGE // 4,), LARGE)
    place = address_of(array)
    view = array.reshape(2, -1)[1:, ::2]
    del array
    gc.collect()
    assert pool.bytes_free == 0
    other = pool.empty(np.dtype(np.float32), (LARGE // 4,), LARGE)
    assert address_of(other) != place
    view[:] = 1
    del view
    gc.collect()
    assert pool.bytes_free == LARGE
    assert address_of(pool.empty(np.dtype(np.int64), (LARGE // 8,), LARGE)) == place


def test_the_pool_is_bounded_and_can_be_emptied() -> None:
    pool = BlockPool(bytes_max=2 * LARGE)
    arrays = [pool.empty(BYTE, (LARGE,), LARGE) for _ in range(4)]
    del arrays
    assert pool.bytes_free == 2 * LARGE
    pool.trim()
    assert pool.bytes_free == 0


@pytest.mark.parametrize("dtype", DType)
def test_arrays_of_every_type(dtype: DType) -> None:
    pool = BlockPool()
    for elements in (0, 3, LARGE):
        shape = (elements, 1)
        array = pool.empty(dtype.numpy, shape, elements * dtype.itemsize)
        assert (array.shape, array.dtype) == (shape, dtype.numpy)
        assert array.flags.c_contiguous
        assert array.flags.writeable


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def test_a_block_takes_no_huge_page_for_what_is_left_over() -> None:
    nbytes, count = HUGE_PAGE + PAGE, 8
    before = resident_bytes()
    blocks = [map_block(nbytes) for _ in range(count)]
    for block in blocks:
        block.array(BYTE, (nbytes,))[:] = 1
    assert resident_bytes() - before < count * nbytes + HUGE_PAGE


def test_a_page_of_a_block_is_there_only_once_it_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = map_block(POOLED_BYTES_MIN), map_block(HUGE_PAGE + PAGE)
    left_over = large.address + HUGE_PAGE
    flags = mapping_flags((small.address, large.address, left_over))
    assert ["nh" in each for each in flags] == [True, False, True]
    assert "hg" in flags[1]

    def refuse(*arguments: int) -> None:
        raise OSError(22, f"{arguments}: no huge pages in this kernel")

    monkeypatch.setattr(mmap, "mmap", type("Map", (mmap.mmap,), {"madvise": refuse}))
    assert not map_block(HUGE_PAGE).array(BYTE, (HUGE_PAGE,)).any()


def mapping_flags(addresses: tuple[int, ...]) -> list[list[str]]:
    """Flags of the mappings that these addresses lie in: `hg`, huge pages; `nh`, none."""
    found: dict[int, list[str]] = {}
    start = stop = 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, _, rest = line.partition(" ")
        if not first.endswith(":"):
            start, stop = (int(each, 16) for each in first.split("-"))
        elif first == "VmFlags:":
            found |= {each: rest.split() for each in addresses if start <= each < stop}
    return [found[each] for each in addresses]
