"""What the backend asks of a device: memory and processors of its own, and streams of work.

Note [Streams]
    What is asked of one stream happens in that order. Nothing orders two streams but an event: it
    is recorded on one, and the other waits for it. A value is uploaded on `UPLOADS`, computed with
    on `KERNELS` and downloaded on `DOWNLOADS`, so copies go on beside kernels; each wait that is
    missing is a race. The device that the tests emulate keeps a vector clock for every stream and
    fails on the first access that no event orders.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NewType, Protocol

from bcai.vm.backends.native.launch import Kernel
from bcai.vm.isa.types import Array

Event = NewType("Event", object)
"""A place in a stream; only the device that gave it can read it."""


class Stream(Enum):
    """One sequence of work on a device."""

    UPLOADS = "uploads"
    KERNELS = "kernels"
    DOWNLOADS = "downloads"


class Work(Protocol):
    """Memory and streams of one run. Addresses are the device's; no call but `close` waits for it.

    The exceptions are a host that has nothing to do: what `download` gives waits for that copy, and
    `upload` for room in its own memory.
    """

    def allocate(self, nbytes: int) -> int:
        """Address of new memory. Raises ResourceError."""
        ...

    def upload(self, address: int, data: Array) -> None:
        """Begin to copy `uint8[n]` to the device; the caller may then change it."""
        ...

    def download(self, address: int, nbytes: int) -> Callable[[], Array]:
        """Begin to copy from the device; what comes back waits and gives, once, `uint8[n]`."""
        ...

    def launch(self, symbol: str, threads: int, arguments: Sequence[int]) -> None:
        """Begin to run a kernel with at least so many threads."""
        ...

    def record(self, stream: Stream) -> Event:
        """The end of all that was asked of a stream."""
        ...

    def wait(self, stream: Stream, event: Event) -> None:
        """What is asked of a stream from now on begins after an event."""
        ...

    def close(self) -> None:
        """Wait for all streams, and give everything back."""
        ...


class Device(Protocol):
    """Holds code, and opens work."""

    def load(self, kernels: Sequence[Kernel]) -> None:
        """Make code of kernels ready to launch."""
        ...

    def open(self) -> Work:
        """Begin a run. Raises ResourceError."""
        ...
