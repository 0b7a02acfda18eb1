"""A GPU played by this processor: a grid's threads one by one, a warp's threads side by side.

The kernels are those that become PTX, compiled for the host; what a thread asks its grid comes from
here. A warp is 32 Python threads that meet at every shuffle.

Work is done at once, and checked as if it were done at any time that its streams allow: every
stream has a vector clock, as in a race detector for threads, which a wait for an event brings up to
that event. An access that its stream's clock does not place after the ones before it raises
`RaceError`.
"""

import ctypes
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from bcai.vm.backends.cuda.device import Event, Stream
from bcai.vm.backends.cuda.grid import (
    EMULATED_DOWN,
    EMULATED_FIRST,
    EMULATED_THREAD,
    THREADS_PER_BLOCK,
    WARP,
)
from bcai.vm.backends.cuda.loop import LoopKernel
from bcai.vm.backends.native.launch import Kernel
from bcai.vm.backends.native.llvm import I32, I64, POINTER, Module
from bcai.vm.backends.native.objects import LoadedObject, compile_object, this_machine
from bcai.vm.isa.types import Array

MEET_S_MAX = 60.0


class RaceError(AssertionError):
    """Two accesses to the same memory that no event orders."""


class EmulatedDevice:
    """`Device` on the host. One launch at a time.

    `done` tells what was asked: uploads and downloads with their bytes, launches by kernel.
    """

    def __init__(self) -> None:
        target = this_machine()
        assert target is not None
        self._target = target
        self.kernels: dict[str, tuple[Kernel, int]] = {}
        self._objects: list[LoadedObject] = []
        self.memory: dict[int, Stretch] = {}
        self.done: list[tuple[Stream, str | int]] = []

    def load(self, kernels: Sequence[Kernel]) -> None:
        if not kernels:
            return
        module = Module("kernels", self._target.triple)
        for name, (callback, parameters, result) in _CALLBACKS.items():
            f = module.function(name, parameters, result, internal=True)
            address = ctypes.cast(callback, ctypes.c_void_p).value
            assert address is not None
            place = f.b.inttoptr(f.number(address), POINTER)
            f.b.ret(f.call_address(place, parameters, f.arguments, result))
        for kernel in kernels:
            kernel.write(module, self._target)
        code = LoadedObject(compile_object(str(module), self._target), self._target)
        self._objects.append(code)
        for kernel in kernels:
            self.kernels[kernel.symbol] = kernel, code.address(kernel.symbol)

    def open(self) -> "EmulatedWork":
        return EmulatedWork(self)

    @property
    def launched(self) -> list[str]:
        return [str(what) for stream, what in self.done if stream is Stream.KERNELS]


@dataclass(slots=True)
class Stretch:
    """Memory of the device, who wrote it last and who has read it since: by stream, and when."""

    memory: Array
    nbytes: int
    written: tuple[Stream, int] | None = None
    read: dict[Stream, int] = field(default_factory=dict[Stream, int])


class EmulatedWork:
    """`Work` on the host, in the order of the calls, with a look at what else might have been."""

    def __init__(self, device: EmulatedDevice) -> None:
        self._device = device
        self._clocks: dict[Stream, Counter[Stream]] = {each: Counter() for each in Stream}
        self._host: Counter[Stream] = Counter()
        self._mine: list[int] = []

    def allocate(self, nbytes: int) -> int:
        memory = np.full(nbytes + 64, 0xFF, np.uint8)
        address = memory.ctypes.data + -memory.ctypes.data % 64
        self._device.memory[address] = Stretch(memory, nbytes)
        self._mine.append(address)
        return address

    def upload(self, address: int, data: Array) -> None:
        self._begin(Stream.UPLOADS, data.nbytes)
        self._write(Stream.UPLOADS, address)
        ctypes.memmove(address, data.ctypes.data, data.nbytes)

    def download(self, address: int, nbytes: int) -> Callable[[], Array]:
        self._begin(Stream.DOWNLOADS, nbytes)
        self._read(Stream.DOWNLOADS, address)
        found = np.empty(nbytes, np.uint8)
        ctypes.memmove(found.ctypes.data, address, nbytes)
        copied = self._clocks[Stream.DOWNLOADS].copy()

        def wait() -> Array:
            self._host |= copied
            return found

        return wait

    def launch(self, symbol: str, threads: int, arguments: Sequence[int]) -> None:
        if not threads:
            return
        self._begin(Stream.KERNELS, symbol)
        kernel, address = self._device.kernels[symbol]
        stored = _stored(kernel)
        for slot, argument in enumerate(arguments):
            touch = self._write if slot in stored else self._read
            touch(Stream.KERNELS, argument)
        run_grid(kernel, address, threads, arguments)

    def record(self, stream: Stream) -> Event:
        return Event(self._clocks[stream].copy())

    def wait(self, stream: Stream, event: Event) -> None:
        assert isinstance(event, Counter)
        self._clocks[stream] |= event

    def close(self) -> None:
        for address in self._mine:
            del self._device.memory[address]

    def _begin(self, stream: Stream, what: str | int) -> None:
        """What the host has seen end has ended before all that it asks for now."""
        self._device.done.append((stream, what))
        self._clocks[stream] |= self._host
        self._clocks[stream][stream] += 1

    def _read(self, stream: Stream, address: int) -> None:
        stretch = self._stretch(address)
        if stretch.written is None:
            if not stretch.nbytes:
                return
            raise RaceError(f"{stream.value} read what nobody wrote")
        self._check_after(stream, *stretch.written)
        stretch.read[stream] = self._clocks[stream][stream]

    def _write(self, stream: Stream, address: int) -> None:
        stretch = self._stretch(address)
        for each in (*stretch.read.items(), *filter(None, [stretch.written])):
            self._check_after(stream, *each)
        stretch.written = stream, self._clocks[stream][stream]
        stretch.read.clear()

    def _check_after(self, stream: Stream, other: Stream, moment: int) -> None:
        if self._clocks[stream][other] < moment:
            raise RaceError(f"{stream.value} did not wait for {other.value}")

    def _stretch(self, address: int) -> Stretch:
        begin = max(each for each in self._device.memory if each <= address)
        stretch = self._device.memory[begin]
        assert address <= begin + stretch.nbytes, "an address that nobody allocated"
        return stretch


def _stored(kernel: Kernel) -> set[int]:
    """Arguments that a kernel writes."""
    if isinstance(kernel, LoopKernel):
        return {each.access.slot for each in kernel.form.stores}
    return {2}  # of a product: left, right, result


def run_grid(kernel: Kernel, address: int, threads: int, arguments: Sequence[int]) -> None:
    """Run a kernel that was compiled for the host on addresses of the host."""
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(arguments))(address)
    started = -(-threads // THREADS_PER_BLOCK) * THREADS_PER_BLOCK
    if not (isinstance(kernel, LoopKernel) and kernel.form.folds):
        for thread in reversed(range(started)):
            _GRID.number.value = thread
            call(*arguments)
        return
    with ThreadPoolExecutor(WARP) as warp:
        for first in range(0, started, WARP):
            runs = [warp.submit(_run_thread, call, first + lane, arguments) for lane in range(WARP)]
            for run in runs:
                run.result()


class _Grid:
    """What the threads of the present warp show each other."""

    def __init__(self) -> None:
        self.number = threading.local()
        self.shown = [0] * WARP
        self.meeting = threading.Barrier(WARP, timeout=MEET_S_MAX)

    def thread(self) -> int:
        found: int = self.number.value
        return found

    def down(self, value: int, distance: int) -> int:
        return self._look(value, (self.thread() + distance) % WARP)

    def first(self, value: int, _: int) -> int:
        return self._look(value, 0)

    def _look(self, value: int, lane: int) -> int:
        self.shown[self.thread() % WARP] = value
        self.meeting.wait()
        found = self.shown[lane]
        self.meeting.wait()
        return found


_GRID = _Grid()
_SHUFFLE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int32, ctypes.c_int32)
_CALLBACKS = {
    EMULATED_THREAD: (ctypes.CFUNCTYPE(ctypes.c_int64)(_GRID.thread), (), I64),
    EMULATED_DOWN: (_SHUFFLE(_GRID.down), (I32, I32), I32),
    EMULATED_FIRST: (_SHUFFLE(_GRID.first), (I32, I32), I32),
}


def _run_thread(call: Callable[..., object], number: int, arguments: Sequence[int]) -> None:
    _GRID.number.value = number
    call(*arguments)
