"""Small values that the script's own memory holds beside the node: counters, and a batch's labels.

The script's torch computes what it can say as exactly as the node, so that reading it asks nobody.
"""

from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from bcai.bridge.guest.capturing.cells import Cells

_EXACT = frozenset({"add", "sub", "mul", "add_", "sub_", "mul_", "zero_", "fill_", "copy_"})
"""Of scalars: one rounding, the same everywhere, so the script's torch may do it as well."""
_MADE = frozenset({"zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "clone"})
_OF_SCALARS = _EXACT | _MADE
_SELECTING = {"arange", "cat", "clamp", "index", "index_select", "remainder", "stack"}
_FOLLOWED = _OF_SCALARS | _SELECTING
_FOLLOWED_MAX = 4096


def can_follow_write(cells: Cells, func: Any, args: tuple[Any, ...]) -> bool:
    """Whether the script's torch may write to a scalar as well."""
    return _name(func) in _EXACT and _are_known_scalars(cells, args)


def follow(
    cells: Cells, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], found: Any
) -> Any:
    """Fill in a result that the script's torch can say as exactly; returns it."""
    if not isinstance(found, torch.Tensor):
        return found
    if found.ndim:
        is_known = _can_select(cells, func, args, found)
    else:
        is_known = _name(func) in _OF_SCALARS and _are_known_scalars(cells, args)
    if is_known:
        found.copy_(func(*args, **kwargs))
        cells.mark_read(found)
    return found


def _can_select(cells: Cells, func: Any, args: tuple[Any, ...], found: torch.Tensor) -> bool:
    """Of a few whole numbers. They may be indices: see Note [Indices that are known]."""
    if found.dtype is not torch.int64 or found.numel() > _FOLLOWED_MAX:
        return False
    return _name(func) in _FOLLOWED and all(
        each.dtype is torch.int64 and cells.holds_values(each)
        for each in tree_leaves(args)
        if isinstance(each, torch.Tensor)
    )


def _are_known_scalars(cells: Cells, args: tuple[Any, ...]) -> bool:
    return all(
        each.ndim == 0 and cells.holds_values(each)
        for each in args
        if isinstance(each, torch.Tensor)
    )


def _name(func: Any) -> str:
    return func.__name__.split(".")[0]
