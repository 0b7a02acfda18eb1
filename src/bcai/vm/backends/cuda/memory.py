"""Buffers of a plan on a device: what is copied, when, and what waits for which copy."""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from bcai.vm.backends.cuda.device import Event, Stream, Work
from bcai.vm.compiler.plan import Buffer, Role, View
from bcai.vm.isa.types import Array


class Memory:
    """Buffers by number, each in memory of its own.

    Inputs and constants are uploaded when the first kernel needs them, and not at all if none does:
    they are only read (see `Role`), so the host's bytes stay right.
    """

    def __init__(self, work: Work, buffers: Sequence[Buffer], values: Mapping[str, Array]) -> None:
        self._work = work
        self._sizes = [each.nbytes for each in buffers]
        self._given = {
            each.number: _bytes_of(each, values)
            for each in buffers
            if each.role in (Role.INPUT, Role.CONSTANT)
        }
        self._there: set[int] = set()
        """Given buffers that were uploaded."""
        self._copying: dict[int, Event] = {}
        """Ends of uploads that kernels have not been told to wait for."""
        self._touched: set[int] = set()
        """Buffers that kernels use, or that the host has written."""
        self.addresses = [work.allocate(size) for size in self._sizes]

    def bring(self, numbers: Collection[int]) -> None:
        """Begin to upload those of the given buffers that are not there yet."""
        for number in sorted(numbers):
            if number in self._given and number not in self._there:
                self._there.add(number)
                self._upload(number, self._given[number])

    def enter(self, numbers: Collection[int]) -> None:
        """Let the kernels to come use these buffers."""
        self.bring(numbers)
        self._touched.update(numbers)
        for number in sorted(numbers):
            event = self._copying.pop(number, None)
            if event is not None:
                self._work.wait(Stream.KERNELS, event)

    def read(self, view: View) -> Callable[[], Array]:
        """Begin to read a view's elements; what comes back waits for them."""
        whole = self._download(view.buffer)
        return lambda: _elements(view, whole())

    def write(self, view: View, value: Array) -> None:
        """Write a view's elements from the host."""
        number = view.buffer
        if number in self._touched:  # and no upload overtakes a kernel: the host waits for it here
            whole = self._download(number)()
        else:
            whole = np.zeros(self._sizes[number], np.uint8)
        self._touched.add(number)
        _elements(view, whole)[...] = value
        self._upload(number, whole)

    def _upload(self, number: int, content: Array) -> None:
        if content.nbytes:
            self._work.upload(self.addresses[number], content)
            self._copying[number] = self._work.record(Stream.UPLOADS)

    def _download(self, number: int) -> Callable[[], Array]:
        given = self._given.get(number)
        if given is not None:
            return lambda: given
        written = self._copying.get(number)
        if written is None:
            written = self._work.record(Stream.KERNELS)
        self._work.wait(Stream.DOWNLOADS, written)
        return self._work.download(self.addresses[number], self._sizes[number])


def _bytes_of(buffer: Buffer, values: Mapping[str, Array]) -> Array:
    if buffer.role is Role.CONSTANT:
        return np.frombuffer(buffer.data, np.uint8)
    return np.ascontiguousarray(values[buffer.name]).reshape(-1).view(np.uint8)


def _elements(view: View, whole: Array) -> Array:
    dtype = view.type.dtype.numpy
    if not view.type.elements:
        return np.empty(view.type.shape, dtype)
    strides = tuple(each * dtype.itemsize for each in view.strides)
    return np.ndarray(view.type.shape, dtype, whole, view.offset * dtype.itemsize, strides)
