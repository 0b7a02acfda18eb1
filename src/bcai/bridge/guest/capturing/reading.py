"""Where a tensor's memory is read past the dispatcher: the contents are fetched first."""

import functools
from collections.abc import Callable
from typing import Any

import torch

from bcai.bridge.guest.capturing.cells import Cells
from bcai.bridge.guest.capturing.inside_torch import without_modes

_READERS = (
    *("__array__", "__dlpack__", "__reduce_ex__", "data_ptr", "numpy"),
    *("share_memory_", "storage", "tolist", "untyped_storage"),
)
_PLAIN = ("__deepcopy__", "__repr__", "__str__")
"""Only torch's own operations on the contents are in them: a copy of what the node has is known
there by its content."""


def fetch_before_reading(cells: Cells) -> None:
    """Put methods in the place of torch's own that bring a tensor's contents first."""
    owner: Any = torch.Tensor
    for name in _READERS:
        setattr(owner, name, _reader(cells, getattr(owner, name)))
    for name in _PLAIN:
        setattr(owner, name, _plain(cells, getattr(owner, name)))
    owner.numpy = _plain_numpy(cells, owner.numpy)
    functions: Any = __import__("torch._VF", fromlist=["x"])
    functions._pad_packed_sequence = _unpacked(cells, functions._pad_packed_sequence)


def _reader(cells: Cells, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def read(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        cells.read(self)
        return method(self, *args, **kwargs)

    return read


def _plain(cells: Cells, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def read(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        cells.read(self)
        with without_modes():
            return method(self, *args, **kwargs)

    return read


def _plain_numpy(cells: Cells, method: Callable[..., Any]) -> Callable[..., Any]:
    """An array that cannot be written to: the node would not see it."""

    @functools.wraps(method)
    def numpy(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        with without_modes():
            array = method(self, *args, **kwargs).copy(order="K")
        array.flags.writeable = False
        return array

    return numpy


def _unpacked(cells: Cells, function: Callable[..., Any]) -> Callable[..., Any]:
    """Series and their lengths, which torch writes straight into a new tensor's memory."""

    def unpack(*args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        found, lengths = function(*args)
        with cells.lock:
            cells.forget(lengths, "")
        return found, lengths

    return unpack
