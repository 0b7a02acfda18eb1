"""One run on an NVIDIA GPU: three streams, and memory whose pages stay where they are.

The driver copies beside kernels only from and to page-locked memory. Uploads go through two blocks
of it in turn, so that little is locked however large an input is: while one block is copied to the
GPU, the host fills the other. A download has page-locked memory of its own, for it is copied when
nobody waits for it.
"""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bcai.base.errors import BcaiError
from bcai.vm.backends.cuda.device import Event, Stream
from bcai.vm.backends.cuda.grid import THREADS_PER_BLOCK
from bcai.vm.isa.types import Array

BLOCK_BYTES = 2 << 20
"""Of one block: a copy takes long beside the call that asks for it."""
BLOCKS = 2
_NO_ORDER_WITH_STREAM_0, _WITHOUT_TIMES = 1, 2  # CU_STREAM_NON_BLOCKING, CU_EVENT_DISABLE_TIMING


@dataclass(slots=True)
class _Block:
    """Page-locked memory, and the event after which it may be filled anew."""

    address: int
    copied: Event | None = None


class CudaWork:
    """`Work` on a GPU.

    Parameters
    ----------
    call
        Calls a function of the driver; raises its errors.
    functions
        Kernels that are loaded, by symbol.
    """

    def __init__(self, call: Callable[..., Any], functions: Mapping[str, Any]) -> None:
        self._call, self._functions = call, functions
        self._blocks: list[_Block] = []
        self._give_back: list[tuple[str, Any]] = []
        """Functions and what they take, in the order in which it was taken."""
        self._streams: dict[Stream, Any] = {}
        try:
            for each in Stream:
                self._streams[each] = call("cuStreamCreate", _NO_ORDER_WITH_STREAM_0)
        except BcaiError:
            self.close()
            raise

    def allocate(self, nbytes: int) -> int:
        """Address of new memory. Raises ResourceError."""
        address = int(self._call("cuMemAlloc", max(nbytes, 1)))
        self._give_back.append(("cuMemFree", address))
        return address

    def upload(self, address: int, data: Array) -> None:
        """Begin to copy `uint8[n]` to the device; the caller may then change it."""
        for begin in range(0, data.nbytes, BLOCK_BYTES):
            part = data[begin : begin + BLOCK_BYTES]
            block = self._block()
            ctypes.memmove(block.address, part.ctypes.data, part.nbytes)
            stream = self._streams[Stream.UPLOADS]
            self._call("cuMemcpyHtoDAsync", address + begin, block.address, part.nbytes, stream)
            block.copied = self.record(Stream.UPLOADS)

    def download(self, address: int, nbytes: int) -> Callable[[], Array]:
        """Begin to copy from the device; what comes back waits for it and gives `uint8[n]`."""
        found = np.empty(nbytes, np.uint8)
        if not nbytes:
            return lambda: found
        locked = self._lock(nbytes)
        self._call("cuMemcpyDtoHAsync", locked, address, nbytes, self._streams[Stream.DOWNLOADS])
        copied = self.record(Stream.DOWNLOADS)

        def wait() -> Array:
            self._call("cuEventSynchronize", copied)
            ctypes.memmove(found.ctypes.data, locked, nbytes)
            self._give_back.remove(("cuMemFreeHost", locked))
            self._call("cuMemFreeHost", locked)
            return found

        return wait

    def launch(self, symbol: str, threads: int, arguments: Sequence[int]) -> None:
        """Begin to run a kernel with at least so many threads."""
        if not threads:
            return
        grid, block = (-(-threads // THREADS_PER_BLOCK), 1, 1), (THREADS_PER_BLOCK, 1, 1)
        parameters = (tuple(arguments), (ctypes.c_void_p,) * len(arguments))
        function, stream = self._functions[symbol], self._streams[Stream.KERNELS]
        self._call("cuLaunchKernel", function, *grid, *block, 0, stream, parameters, 0)

    def record(self, stream: Stream) -> Event:
        """The end of all that was asked of a stream."""
        event = self._call("cuEventCreate", _WITHOUT_TIMES)
        self._give_back.append(("cuEventDestroy", event))
        self._call("cuEventRecord", event, self._streams[stream])
        return Event(event)

    def wait(self, stream: Stream, event: Event) -> None:
        """What is asked of a stream from now on begins after an event."""
        self._call("cuStreamWaitEvent", self._streams[stream], event, 0)

    def close(self) -> None:
        """Wait for all streams, and give everything back."""
        for stream in self._streams.values():
            self._call("cuStreamSynchronize", stream)
        for name, what in reversed(self._give_back):
            self._call(name, what)
        for stream in self._streams.values():
            self._call("cuStreamDestroy", stream)

    def _block(self) -> _Block:
        """The block that was filled longest ago, once it may be filled again."""
        if len(self._blocks) < BLOCKS:
            block = _Block(self._lock(BLOCK_BYTES))
        else:
            block = self._blocks.pop(0)
            if block.copied is not None:
                self._call("cuEventSynchronize", block.copied)
        self._blocks.append(block)
        return block

    def _lock(self, nbytes: int) -> int:
        """Address of new page-locked memory of the host. Raises ResourceError."""
        address = int(self._call("cuMemAllocHost", nbytes))
        self._give_back.append(("cuMemFreeHost", address))
        return address
