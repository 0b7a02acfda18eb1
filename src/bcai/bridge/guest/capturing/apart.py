"""Operations in terms of others, where torch's compilers have no such words."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import torch

_SUM, _MEAN = 0, 1


def _bags(
    weight: torch.Tensor,
    indices: torch.Tensor,
    offsets: torch.Tensor,
    scaled: bool = False,
    mode: int = _SUM,
    sparse: bool = False,
    shares: torch.Tensor | None = None,
    has_end: bool = False,
    padding: int = -1,
) -> Any:
    """Rows of a table, added up by bag; also the bag of each row, and how many rows a bag has."""
    if scaled or sparse or padding >= 0 or mode not in (_SUM, _MEAN):
        return NotImplemented
    starts = (offsets[:-1] if has_end else offsets).long()
    places = torch.arange(indices.numel())
    bag = torch.searchsorted(starts, places, right=True) - 1
    counts = torch.zeros_like(starts).index_add(0, bag, torch.ones_like(places))
    rows = weight.index_select(0, indices)
    if shares is not None:
        rows = rows * shares.unsqueeze(1)
    found = weight.new_zeros(starts.numel(), weight.shape[1]).index_add(0, bag, rows)
    if mode == _MEAN:
        found = found / counts.clamp(min=1).unsqueeze(1).to(found.dtype)
    return found, bag, counts, torch.zeros_like(counts)


def _bags_backward(
    slope: torch.Tensor,
    indices: torch.Tensor,
    offsets: torch.Tensor,
    bag: torch.Tensor,
    counts: torch.Tensor,
    largest: torch.Tensor,
    rows: int,
    scaled: bool,
    mode: int,
    sparse: bool,
    shares: torch.Tensor | None,
    padding: int = -1,
) -> Any:
    del offsets, largest
    if scaled or sparse or padding >= 0 or mode not in (_SUM, _MEAN):
        return NotImplemented
    if mode == _MEAN:
        slope = slope / counts.clamp(min=1).unsqueeze(1).to(slope.dtype)
    each = slope.index_select(0, bag)
    if shares is not None:
        each = each * shares.unsqueeze(1)
    return slope.new_zeros(rows, slope.shape[1]).index_add(0, indices, each)


def _packed(x: torch.Tensor, lengths: torch.Tensor, batch_first: bool) -> Any:
    """Steps of several series, those of one time beside each other; the longest series first."""
    sizes: list[int] = cast("Any", lengths).tolist()
    x = x.transpose(0, 1) if batch_first else x
    is_sorted = all(first >= second for first, second in pairwise(sizes))
    if (
        not sizes
        or not is_sorted
        or sizes[-1] < 1
        or sizes[0] > x.shape[0]
        or len(sizes) != x.shape[1]
    ):
        return NotImplemented
    together = [sum(size > time for size in sizes) for time in range(sizes[0])]
    places = [time * len(sizes) + row for time, n in enumerate(together) for row in range(n)]
    taken = x.reshape(-1, *x.shape[2:]).index_select(0, torch.tensor(places))
    return taken, torch.tensor(together)


RULES: dict[str, Callable[..., Any]] = {
    "aten._embedding_bag.default": _bags,
    "aten._embedding_bag_forward_only.default": _bags,
    "aten._embedding_bag_backward.default": _bags_backward,
    "aten._pack_padded_sequence.default": _packed,
}
"""NotImplemented of one says that it does not know such a call."""
