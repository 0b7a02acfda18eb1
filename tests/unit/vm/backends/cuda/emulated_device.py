"""A GPU played by this processor: a grid's threads one by one, a warp's threads side by side.

The kernels are those that become PTX, compiled for the host; what a thread asks its grid comes from
here. A warp is 32 Python threads that meet at every shuffle.
"""

import ctypes
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

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


class EmulatedDevice:
    """`Device` on the host. One launch at a time."""

    def __init__(self) -> None:
        target = this_machine()
        assert target is not None
        self._target = target
        self._kernels: dict[str, tuple[Kernel, int]] = {}
        self._objects: list[LoadedObject] = []
        self._memory: dict[int, Array] = {}
        self.launched: list[str] = []

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
            self._kernels[kernel.symbol] = kernel, code.address(kernel.symbol)

    def allocate(self, nbytes: int) -> int:
        memory = np.full(nbytes + 64, 0xFF, np.uint8)
        address = memory.ctypes.data + -memory.ctypes.data % 64
        self._memory[address] = memory
        return address

    def free(self, address: int) -> None:
        del self._memory[address]

    @property
    def bytes_held(self) -> int:
        return sum(each.nbytes for each in self._memory.values())

    def upload(self, address: int, data: Array) -> None:
        ctypes.memmove(address, data.ctypes.data, data.nbytes)

    def download(self, address: int, nbytes: int) -> Array:
        found = np.empty(nbytes, np.uint8)
        ctypes.memmove(found.ctypes.data, address, nbytes)
        return found

    def launch(self, symbol: str, threads: int, arguments: Sequence[int]) -> None:
        self.launched.append(symbol)
        kernel, address = self._kernels[symbol]
        call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(arguments))(address)
        started = -(-threads // THREADS_PER_BLOCK) * THREADS_PER_BLOCK
        if not (isinstance(kernel, LoopKernel) and kernel.form.folds):
            for thread in reversed(range(started)):
                _GRID.number.value = thread
                call(*arguments)
            return
        with ThreadPoolExecutor(WARP) as warp:
            for first in range(0, started, WARP):
                runs = [
                    warp.submit(_run_thread, call, first + lane, arguments) for lane in range(WARP)
                ]
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
