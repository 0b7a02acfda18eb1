"""The GPUs of a node, each lent to one job at a time, first come, first served."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio

from bcai.bridge.sandbox.gpu import GpuDevice
from bcai.jobs.spec import Hardware


class GpuPool:
    """Lends devices to jobs. A job that waits holds up those behind it, so that none starves."""

    def __init__(self, gpus: Sequence[GpuDevice] = ()) -> None:
        self._free = list(gpus)
        self._gpus = tuple(gpus)
        self._turn = anyio.Lock()
        self._returned = anyio.Event()

    @asynccontextmanager
    async def lend(self, wanted: Hardware) -> AsyncGenerator[tuple[GpuDevice, ...]]:
        """As many as a job wants, once they are free; none where the node could never lend them.

        Placement has refused a job that wants more than there is, unless it may run without.
        """
        if not 0 < wanted.gpu_count <= len(_fitting(self._gpus, wanted)):
            yield ()
            return
        async with self._turn:
            while len(fitting := _fitting(self._free, wanted)) < wanted.gpu_count:
                self._returned = anyio.Event()
                await self._returned.wait()
            lent = fitting[: wanted.gpu_count]
            self._free = [gpu for gpu in self._free if gpu not in lent]
        try:
            yield lent
        finally:
            self._free = [gpu for gpu in self._gpus if gpu in self._free or gpu in lent]
            self._returned.set()


def _fitting(gpus: Sequence[GpuDevice], wanted: Hardware) -> tuple[GpuDevice, ...]:
    """The smallest first, so that large ones are left for who needs them."""
    large = [gpu for gpu in gpus if gpu.memory_bytes >= wanted.gpu_memory_bytes]
    return tuple(sorted(large, key=lambda gpu: (gpu.memory_bytes, gpu.minor)))
