"""Operations that fail for some values of their operands: indices that must lie within an axis.

Note [Indices that are known]
    Torch raises where such an operation is called; the node finds out when it executes the part,
    and the script may be past it by then. Where the script's memory holds the indices (its data,
    and what `mode` follows of small whole numbers) they are looked at before: an operation that
    will fail is left to torch, whose error is then the script's to catch. Where only the node has
    them the part fails there, which ends the job; the lines that it can come from are said.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch


class Bound(NamedTuple):
    """Indices, and the axis that they are of. From its end they may count where `low` is below 0.

    Attributes
    ----------
    ignored
        A value that is no index.
    """

    indices: torch.Tensor
    low: int
    size: int
    ignored: int | None = None

    @property
    def is_kept(self) -> bool:
        """Whether all indices lie within; to be asked where the memory holds them."""
        if not self.indices.numel():
            return True
        found = self.indices
        if self.ignored is not None:
            found = found[found != self.ignored]
            if not found.numel():
                return True
        low, high = torch.aminmax(found)
        return self.low <= int(low) and int(high) < self.size


def bounds_of(func: Any, args: Sequence[Any]) -> list[Bound]:
    """What an operation asks of its indices; empty where it is called in another way."""
    find = BOUNDED[func._schema.name.removeprefix("aten::").removesuffix("_")]
    try:
        return find(*args)
    except (TypeError, IndexError, AttributeError):  # torch says what is wrong with the call
        return []


def _rows(weight: torch.Tensor, indices: torch.Tensor, *_: Any) -> list[Bound]:
    return [Bound(indices, 0, weight.shape[0])]


def _along(x: torch.Tensor, dim: int, indices: torch.Tensor, *_: Any) -> list[Bound]:
    return [Bound(indices, 0, x.shape[dim])] if x.ndim else []


def _anywhere(x: torch.Tensor, indices: Sequence[Any], *_: Any) -> list[Bound]:
    found = [(axis, each) for axis, each in enumerate(indices) if each is not None]
    if any(each.dtype in (torch.bool, torch.uint8) for _, each in found):
        return []
    return [Bound(each, -x.shape[axis], x.shape[axis]) for axis, each in found]


def _in_a_row(x: torch.Tensor, indices: torch.Tensor) -> list[Bound]:
    return [Bound(indices, -x.numel(), x.numel())]


def _classes(
    x: torch.Tensor,
    target: torch.Tensor,
    weight: Any = None,
    reduction: int = 1,
    ignored: int = -100,
) -> list[Bound]:
    del weight, reduction
    return [Bound(target, 0, x.shape[1 if x.ndim > 1 else 0], ignored)]


BOUNDED: dict[str, Callable[..., list[Bound]]] = {
    "embedding": _rows,
    "take": _in_a_row,
    **dict.fromkeys(("index", "index_put", "_index_put_impl"), cast("Any", _anywhere)),
    **dict.fromkeys(("nll_loss_forward", "nll_loss2d_forward"), cast("Any", _classes)),
    **dict.fromkeys(
        ("gather", "scatter", "scatter_add", "scatter_reduce", "index_select", "index_add",
         "index_copy", "index_fill"),
        cast("Any", _along),
    ),
}  # fmt: skip
