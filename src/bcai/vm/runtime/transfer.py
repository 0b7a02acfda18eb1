"""Moving tensors to a device and back while other work goes on."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np

from bcai.vm.isa.types import Array

Handle = TypeVar("Handle")


class Transfer(Protocol[Handle]):
    """Copies tensors between the host and one device.

    A call returns at once; `result()` of what it returns waits until the copy is there. The source
    must not change before. Copies are made in the order in which they are asked for.
    """

    def to_device(self, array: Array) -> "Future[Handle]":
        """Begin to copy a tensor to the device."""
        ...

    def to_host(self, handle: Handle) -> "Future[Array]":
        """Begin to copy a tensor from the device."""
        ...

    def close(self) -> None:
        """Wait for what was begun, and take nothing more."""
        ...


class HostTransfer:
    """The host as a device: copies in a thread of its own, which needs no lock of Python's."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bcai-transfer")

    def to_device(self, array: Array) -> "Future[Array]":
        """Begin to copy a tensor."""
        return self._thread.submit(_copy, array)

    def to_host(self, handle: Array) -> "Future[Array]":
        """Begin to copy a tensor back."""
        return self._thread.submit(_copy, handle)

    def close(self) -> None:
        """Wait for what was begun, and take nothing more."""
        self._thread.shutdown()


def _copy(array: Array) -> Array:
    copied = np.empty_like(array, order="C", subok=False)
    np.copyto(copied, array)
    return copied
