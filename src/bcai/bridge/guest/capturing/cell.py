"""One storage of the script's, and what the node has of it."""

import ctypes
from dataclasses import dataclass, field

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from bcai.bridge.guest.capturing.geometry import Geometry
from bcai.vm.isa.symbol import Symbol


@dataclass(slots=True)
class Cell:
    """One storage.

    Attributes
    ----------
    root
        How the value lies in the storage: all of it, row-major.
    symbol, handle
        The value in the present part, and on the node; a symbol is newer.
    is_read
        Whether the storage holds the value, too.
    copy
        What was handed over, for storages that others than torch may write to.
    checked_in
        Number of the part in which the copy was last compared.
    views
        The present part's symbols of tensors that see the storage otherwise.
    """

    storage: StorageWeakRef
    root: Geometry
    symbol: Symbol | None = None
    handle: int | None = None
    is_read: bool = False
    copy: bytes | None = None
    checked_in: int = -1
    views: dict[Geometry, Symbol] = field(default_factory=dict[Geometry, Symbol])

    def replace(self, root: Geometry, symbol: Symbol) -> None:
        """All of it was written."""
        self.root, self.symbol, self.is_read, self.copy = root, symbol, False, None
        self.views.clear()


def bytes_of(storage: torch.UntypedStorage, count: int) -> bytes:
    """The first bytes of a storage's memory."""
    return ctypes.string_at(storage.data_ptr(), count) if count else b""
