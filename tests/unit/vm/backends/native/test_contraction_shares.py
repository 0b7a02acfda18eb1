"""Products are cut evenly, and only where that pays."""

from collections.abc import Sequence

import pytest

from bcai.vm.backends.native.kernels import contraction_shares
from bcai.vm.backends.native.kernels.contraction_shares import Panels, cut, grain_of, last_end


@pytest.mark.parametrize("threads", [2, 3, 4, 16, 64])
@pytest.mark.parametrize(
    ("rows", "columns"), [(74, 32), (10, 4), (3, 4), (1, 64), (300, 1), (37, 16)]
)
def test_threads_end_together(rows: int, columns: int, threads: int) -> None:
    row_blocks, column_blocks = cut(Panels(rows, columns, 1, 12), 10_000, threads, 0.0, 4)
    assert row_blocks <= rows
    assert column_blocks <= columns
    assert row_blocks * 12 >= rows
    sizes = [
        float((rows * (r + 1) // row_blocks - rows * r // row_blocks) * width)
        for c in range(column_blocks)
        for width in [columns * (c + 1) // column_blocks - columns * c // column_blocks]
        for r in range(row_blocks)
    ]
    assert sum(sizes) == rows * columns
    even = max(rows * columns / threads, 1.0)
    if rows * columns >= 16 * threads:
        assert last_end(sizes, threads) <= 1.35 * even


def test_small_products_and_large_batches_stay_whole() -> None:
    assert cut(Panels(10, 10, 1, 12), 1, 2, 0.0, 4) == (1, 1)
    assert cut(Panels(10, 10, 96, 12), 1000, 2, 0.0, 4) == (1, 1)
    assert cut(Panels(10, 10, 1, 12), 1000, 1, 0.0, 4) == (1, 1)
    assert cut(Panels(30, 10, 1, 12), 1000, 1, 0.0, 4) == (3, 1)


@pytest.mark.parametrize("threads", [8, 64, 256])
def test_many_threads_do_not_make_the_cut_long(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def count(sizes: Sequence[float], threads: int) -> float:
        tried.append(len(sizes))
        return last_end(sizes, threads)

    monkeypatch.setattr(contraction_shares, "last_end", count)
    row_blocks, column_blocks = cut(Panels(1000, 1000, 1, 8), 1 << 40, threads, 0.3, 4)
    assert row_blocks * column_blocks >= threads
    assert len(tried) < 600


@pytest.mark.parametrize("units", [1, 2, 7, 16, 64, 1000])
@pytest.mark.parametrize("least", [0.1, 1.0, 3.5, 100.0])
def test_no_part_is_smaller_than_is_worth_a_thread(units: int, least: float) -> None:
    grain = grain_of(units, least, 2)
    assert 1 <= grain <= units
    assert grain >= min(least, units)
