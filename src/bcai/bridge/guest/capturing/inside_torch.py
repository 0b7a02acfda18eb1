"""What is taken from torch's own rooms, in one place: a new version of torch is checked here."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, cast

import torch

_torch: Any = torch
_dispatch: Any = __import__("torch.utils._python_dispatch", fromlist=["x"])

storage_of = cast(
    "Callable[[torch.Tensor], torch.UntypedStorage]", _torch._C.TensorBase.untyped_storage
)
"""The method itself: `reading` puts another in its place for scripts."""


def number_of(storage: torch.UntypedStorage) -> int:
    """What identifies a storage while it, or a weak reference to it, is there."""
    return cast("Any", storage)._cdata


def without_modes() -> AbstractContextManager[Any]:
    """No dispatch mode is active within."""
    return _dispatch._disable_current_modes()


def list_operations() -> list[str]:
    """Names of the operations on lists of tensors."""
    names: list[str] = dir(_torch._C._VariableFunctions)
    return [name for name in names if name.startswith("_foreach_")]


def decomposition_of(func: Any) -> Callable[..., Any] | None:
    """How torch says an operation in terms of others, if it does."""
    from torch import _decomp

    return cast("Any", _decomp).decomposition_table.get(func)
