"""What the node has of the script's tensors: a cell for each storage that an operation has touched.

Note [Tensors without contents]
    The script's tensors are ordinary torch tensors on the processor, with storages of their full
    size whose pages nobody writes to. What they hold is known to the node: a `Cell` says which of
    its values, or which symbol of the part that is being written. Views share a storage, so they
    share a cell, and writing through one is seen by all. Contents come into a storage only when
    something reads them (`Cells.read`). A storage without a cell holds what the script's own code
    put there: it is handed over when an operation first needs it.
"""

import ctypes
import os
from threading import RLock

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from bcai.bridge.guest.capturing.cell import Cell, bytes_of
from bcai.bridge.guest.capturing.exchange import IN_CHILD, Exchange
from bcai.bridge.guest.capturing.geometry import (
    Geometry,
    geometry_of,
    put_view,
    row_major,
    view_of,
)
from bcai.bridge.guest.capturing.inside_torch import (
    memory_of,
    number_of,
    storage_behind,
    storage_of,
)
from bcai.bridge.guest.export.types import UnsupportedError, dtype_of, type_of
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import TensorType

_COMPARED_BYTES = 1 << 16
"""What lies outside of torch's own memory is compared at every use up to here, then once a part."""


class Cells:
    """Every cell, by its storage.

    Attributes
    ----------
    exchange
        Where what the cells stand for is written and handed over.
    lock
        Held by the thread of the script that hands something over.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.lock = RLock()
        self._cells: dict[int, Cell] = {}
        self._origins: dict[int, tuple[StorageWeakRef, str]] = {}
        self._absent: dict[int, StorageWeakRef] = {}

    def symbol(self, tensor: torch.Tensor) -> Symbol:
        """The value of a tensor in the present part. Raises UnsupportedError."""
        cell = self._cell_or_given(tensor)
        at = geometry_of(tensor)
        found = cell.views.get(at)
        if found is not None:
            return found
        root = self._root_symbol(cell)
        if at == cell.root:
            return root
        if at.dtype != cell.root.dtype:
            raise UnsupportedError("a view of the same bytes as another element type")
        if at.is_whole and at.elements == cell.root.elements:
            found = root.reshape(*at.shape)
        else:
            count = cell.root.elements
            found = view_of(root.reshape(count), count, at)
        assert found.type == type_of(tensor)
        cell.views[at] = found
        return found

    def new(self, symbol: Symbol, like: torch.Tensor) -> torch.Tensor:
        """A tensor that stands for a value of the part, and lies as `like` does."""
        tensor = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype)
        storage = storage_of(tensor)
        at, ref = geometry_of(tensor), StorageWeakRef(storage)
        if like.is_contiguous():
            self._cells[number_of(storage)] = Cell(ref, at, symbol)
            return tensor
        order = at.order
        if order is not None:
            root = at.row_major(order)
            cell = Cell(ref, root, row_major(symbol, order), views={at: symbol})
            self._cells[number_of(storage)] = cell
        else:  # with gaps
            count = storage.nbytes() // tensor.element_size()
            gaps = symbol.scalar(0.0).expand(count)
            self._cells[number_of(storage)] = Cell(ref, at.flat(count), gaps)
            self.write(tensor, symbol)
        return tensor

    def absent(self, like: torch.Tensor) -> torch.Tensor:
        """A result that no rule writes, since only torch's own backward pass would read it."""
        tensor = torch.empty_strided(like.shape, like.stride(), dtype=like.dtype)
        storage = storage_of(tensor)
        self._absent[number_of(storage)] = StorageWeakRef(storage)
        return tensor

    def is_absent(self, tensor: torch.Tensor) -> bool:
        """Whether `absent` made it."""
        if not self._absent or tensor.layout is not torch.strided:
            return False
        ref = self._absent.get(number_of(storage_of(tensor)))
        return ref is not None and not ref.expired()

    def mark_read(self, tensor: torch.Tensor) -> None:
        """The storage was written beside: it holds the value."""
        self._cells[number_of(storage_of(tensor))].is_read = True

    def write(self, tensor: torch.Tensor, symbol: Symbol) -> None:
        """Put a value in a tensor's place, in all of its storage that it covers."""
        at = geometry_of(tensor)
        if at.offset == 0 and at.elements * tensor.element_size() == storage_of(tensor).nbytes():
            if at.is_whole:
                self._replace(tensor, at, symbol)
                return
            if (order := at.order) is not None:
                cell = self._replace(tensor, at.row_major(order), row_major(symbol, order))
                cell.views[at] = symbol
                return
        cell = self._cell_or_given(tensor)
        if at.dtype != cell.root.dtype:
            raise UnsupportedError("writing through a view of another element type")
        count = cell.root.elements
        flat = put_view(self._root_symbol(cell).reshape(count), count, at, symbol)
        cell.symbol, cell.is_read, cell.copy = flat.reshape(*cell.root.shape), False, None
        cell.views = {at: symbol}

    def _replace(self, tensor: torch.Tensor, at: Geometry, symbol: Symbol) -> Cell:
        storage = storage_of(tensor)
        cell = self._cells.get(number_of(storage))
        if cell is None or cell.storage.expired():
            self._drop(number_of(storage))
            cell = self._cells[number_of(storage)] = Cell(StorageWeakRef(storage), at, symbol)
            return cell
        cell.replace(at, symbol)
        return cell

    def holds_values(self, tensor: torch.Tensor) -> bool:
        """Whether the tensor's own memory holds what it stands for."""
        cells = (self._cells.get(number_of(storage_of(each))) for each in memory_of(tensor))
        return all(cell is None or cell.is_read for cell in cells)

    def read(self, tensor: torch.Tensor) -> None:
        """Bring a tensor's contents into its memory."""
        for each in memory_of(tensor):
            storage = storage_of(each)
            cell = self._cells.get(number_of(storage))
            if cell is not None and not cell.is_read:
                self._fetch(cell, storage)

    def read_all(self) -> None:
        """Bring the contents of every tensor: whoever reads next cannot ask the node."""
        with self.lock:
            for cell in list(self._cells.values()):
                storage = None if cell.is_read else storage_behind(cell.storage)
                if storage is not None:
                    self._fetch(cell, storage)

    def _fetch(self, cell: Cell, storage: torch.UntypedStorage) -> None:
        if os.getpid() != self.exchange.job:
            raise RuntimeError(IN_CHILD)
        if not cell.root.elements:
            return
        with self.lock:
            self.hand_over()
            assert cell.handle is not None
            data = self.exchange.fetch(cell.handle)
            ctypes.memmove(storage.data_ptr(), data, len(data))
            cell.is_read = True

    def forget(self, tensor: torch.Tensor, origin: str) -> None:
        """The script's own torch wrote to this memory: it is handed over when it is needed."""
        for each in memory_of(tensor):
            storage = storage_of(each)
            self._drop(number_of(storage))
            ref = StorageWeakRef(storage)
            self._origins[number_of(storage)] = (ref, origin)

    def hand_over(self) -> None:
        """Let the node run what was collected."""
        for cdata in [each for each, cell in self._cells.items() if cell.storage.expired()]:
            self._drop(cdata)
        for cdata in [each for each, (ref, _) in self._origins.items() if ref.expired()]:
            del self._origins[cdata]
        self.exchange.run([cell for cell in self._cells.values() if cell.symbol is not None])
        for cdata in [each for each, ref in self._absent.items() if ref.expired()]:
            del self._absent[cdata]
        self.exchange.free()
        for cell in self._cells.values():
            cell.views.clear()

    def _drop(self, cdata: int) -> None:
        cell = self._cells.pop(cdata, None)
        if cell is not None:
            self.exchange.drop(cell)

    def _root_symbol(self, cell: Cell) -> Symbol:
        if cell.symbol is None:
            assert cell.handle is not None
            type_ = TensorType(dtype_of(cell.root.dtype), cell.root.shape)
            cell.symbol = self.exchange.part.value(cell.handle, type_)
        return cell.symbol

    def _cell_or_given(self, tensor: torch.Tensor) -> Cell:
        """The tensor's cell; made, with what its storage holds, if there is none."""
        storage = storage_of(tensor)
        cell = self._cells.get(number_of(storage))
        if cell is not None and cell.storage.expired():
            self._drop(number_of(storage))
            cell = None
        if cell is None:
            return self._give(tensor, storage)
        if cell.copy is not None and self._has_changed(cell, storage):
            self._drop(number_of(storage))
            return self._give(tensor, storage)
        return cell

    def _give(self, tensor: torch.Tensor, storage: torch.UntypedStorage) -> Cell:
        type_of(tensor)
        at = geometry_of(tensor)
        count = storage.nbytes() // tensor.element_size()
        order = at.order if at.offset == 0 and at.elements == count else None
        at = at.flat(count) if order is None else at.row_major(order)
        ref = StorageWeakRef(storage)
        _, origin = self._origins.pop(number_of(storage), (None, ""))
        data = bytes_of(storage, count * tensor.element_size())
        handle = self.exchange.next_handle()
        cell = Cell(ref, at, handle=handle, is_read=True)
        if not storage.resizable():  # NumPy's memory, or a file's: others may write to it
            cell.copy = data
        dtype = int(dtype_of(tensor.dtype))
        self.exchange.link.give(handle, dtype, list(at.shape), origin, data)
        self._cells[number_of(storage)] = cell
        return cell

    def _has_changed(self, cell: Cell, storage: torch.UntypedStorage) -> bool:
        assert cell.copy is not None
        if len(cell.copy) > _COMPARED_BYTES and cell.checked_in == self.exchange.parts:
            return False
        cell.checked_in = self.exchange.parts
        return cell.copy != bytes_of(storage, len(cell.copy))
