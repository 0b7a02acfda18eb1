"""What is taken from torch's own rooms, in one place: a new version of torch is checked here."""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

import torch
from torch.multiprocessing.reductions import StorageWeakRef

_torch: Any = torch
_dispatch: Any = __import__("torch.utils._python_dispatch", fromlist=["x"])
FakeTensorMode: Any = __import__("torch._subclasses.fake_tensor", fromlist=["x"]).FakeTensorMode

storage_of = cast(
    "Callable[[torch.Tensor], torch.UntypedStorage]", _torch._C.TensorBase.untyped_storage
)
"""The method itself: `reading` puts another in its place for scripts."""


def number_of(storage: torch.UntypedStorage) -> int:
    """What identifies a storage while it, or a weak reference to it, is there."""
    return cast("Any", storage)._cdata


def memory_of(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
    """What holds a tensor's elements: itself, or the indices and values of a sparse one.

    None where torch does not say (the layout of oneDNN): no rule takes such a tensor, so what it
    holds is always the work of the script's own torch.
    """
    if tensor.layout is torch.strided:
        return (tensor,)
    names = _SPARSE.get(tensor.layout, ())
    with without_modes(), torch.no_grad():
        return [getattr(tensor, name)() for name in names]


_ROWS = ("crow_indices", "col_indices", "values")
_COLUMNS = ("ccol_indices", "row_indices", "values")
_SPARSE = {
    torch.sparse_coo: ("_indices", "_values"),
    torch.sparse_csr: _ROWS,
    torch.sparse_bsr: _ROWS,
    torch.sparse_csc: _COLUMNS,
    torch.sparse_bsc: _COLUMNS,
}


def storage_behind(ref: StorageWeakRef) -> torch.UntypedStorage | None:
    """The storage that a weak reference is of, if it is still there."""
    if ref.expired():
        return None
    return cast("Any", torch.UntypedStorage)._new_with_weak_ptr(cast("Any", ref).cdata)


def without_modes() -> AbstractContextManager[Any]:
    """No dispatch mode is active within."""
    return _dispatch._disable_current_modes()


def has_mode() -> bool:
    """Whether a dispatch mode is active in this thread."""
    return _dispatch._get_current_dispatch_mode() is not None


@contextmanager
def with_onednn() -> Generator[None]:
    """OneDNN is switched on within; also where a script has frozen the flags of torch.backends."""
    before = _torch._C._get_mkldnn_enabled()
    _torch._C._set_mkldnn_enabled(True)
    try:
        yield
    finally:
        _torch._C._set_mkldnn_enabled(before)


def list_operations() -> list[str]:
    """Names of the operations on lists of tensors."""
    names: list[str] = dir(_torch._C._VariableFunctions)
    return [name for name in names if name.startswith("_foreach_")]


def is_composite(func: Any) -> bool:
    """Whether torch itself only ever says an operation in terms of others."""
    return func.has_kernel_for_dispatch_key(_torch._C.DispatchKey.CompositeImplicitAutograd)


def decomposition_of(func: Any) -> Callable[..., Any] | None:
    """How torch says an operation in terms of others, if it does."""
    from torch import _decomp

    return cast("Any", _decomp).decomposition_table.get(func)
