"""The threads that native code runs on. Python starts them; from then on they run native code only.

A pool does one run at a time: others wait for it. Idle threads sleep in the kernel.
"""

import atexit
import ctypes
import os
import sys
import threading
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path

import numpy as np

from bcai.vm.backends.native.code import Code, load_kernels
from bcai.vm.backends.native.memory import address_of, map_block
from bcai.vm.backends.native.objects import ObjectCache
from bcai.vm.backends.native.share import (
    POOL_WORDS,
    SCRATCH,
    SCRATCH_STRIDE,
    STOP,
    SYSCALL,
    THREADS,
    TICKET,
    Worker,
)
from bcai.vm.backends.native.tape import RECORD_WORDS, Addresses, Run
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import Array

THREADS_MAX = 256
SCRATCH_BYTES_MIN = 1 << 16
STOP_WAIT_S = 10.0  # of a machine that is busy; else it takes no time
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
_QUOTA, _PERIOD = (Path(f"/sys/fs/cgroup/cpu/cpu.cfs_{each}_us") for each in ("quota", "period"))


class Pool:
    """Threads, their common memory, and the function that runs a tape on them.

    Parameters
    ----------
    threads
        How many work at once, the caller among them; 1 starts none.
    """

    def __init__(self, target: Target, objects: ObjectCache, threads: int) -> None:
        self.threads = max(1, min(threads, THREADS_MAX))
        self._code: Code = load_kernels((Run(), Worker(), Addresses()), target, objects)
        entry = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
        self._run = entry(self._code.addresses[Run().symbol])
        word = ctypes.c_int64
        find = ctypes.CFUNCTYPE(None, ctypes.c_void_p, word, word)
        self._find_addresses = find(self._code.addresses[Addresses().symbol])
        self._lock = threading.Lock()
        self._block = map_block(POOL_WORDS * 8)
        self._words = self._block.array(np.dtype(np.int64), (POOL_WORDS,))
        self._words[THREADS] = self.threads
        self._words[SYSCALL] = _address_of_syscall()
        self._workers: list[threading.Thread] = []
        self._scratch = map_block(0)
        self._grow(SCRATCH_BYTES_MIN)

    def run(self, tape: Array, start: int, count: int, scratch_bytes: int) -> int:
        """Run `count` records of a tape from record `start` on (Note [Tape]).

        Returns the number, from `start` on, of the record that failed, or -1.
        """
        address = address_of(tape) + start * RECORD_WORDS * 8
        with self._lock:
            if scratch_bytes > self._words[SCRATCH_STRIDE]:
                self._grow(scratch_bytes)
            if self.threads > 1 and not self._workers:
                self._start()
            return self._run(address, count, self._block.address)

    def addresses_of(self, arrays: Collection[Array]) -> Array:
        """Addresses of the arrays' first elements: int64[count]."""
        if not _DATA_IS_FIRST:
            return np.array([address_of(each) for each in arrays], np.int64)
        words = np.fromiter(map(id, arrays), np.int64, len(arrays))
        self._find_addresses(address_of(words), len(arrays), object.__basicsize__)
        return words

    def close(self) -> None:
        """Stop the threads; the next run would start them again."""
        with self._lock:
            if not self._workers:
                return
            self._words[STOP] = 1
            self._words[TICKET] += 1 << 33  # a new generation, in which there is nothing to do
            wake = ctypes.CDLL(None).syscall
            number = 202 if os.uname().machine == "x86_64" else 98
            for worker in self._workers:
                wake(number, ctypes.c_void_p(self._block.address + 4), 129, 2**31 - 1, 0, 0, 0)
                worker.join(STOP_WAIT_S)
            if not any(worker.is_alive() for worker in self._workers):
                self._words[STOP] = 0
            self._workers.clear()

    def _start(self) -> None:
        entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
        work = entry(self._code.addresses[Worker().symbol])
        for index in range(1, self.threads):
            name, arguments = f"bcai-native-{index}", (work, index)
            thread = threading.Thread(target=self._work, args=arguments, name=name, daemon=True)
            thread.start()
            self._workers.append(thread)

    def _work(self, work: Callable[[int, int], None], index: int) -> None:
        """Run a worker; the thread keeps its pool, the code and the memory, while it runs."""
        work(self._block.address, index)

    def _grow(self, scratch_bytes: int) -> None:
        stride = -(-scratch_bytes // 4096) * 4096
        self._scratch = map_block(stride * self.threads)
        self._words[SCRATCH], self._words[SCRATCH_STRIDE] = self._scratch.address, stride


def _data_is_first() -> bool:
    """Whether an array's address is its first field, as NumPy's C interface has it."""
    if sys.implementation.name != "cpython":
        return False
    array = np.zeros(3)
    return ctypes.c_size_t.from_address(id(array) + object.__basicsize__).value == address_of(array)


_DATA_IS_FIRST = _data_is_first()
_pools: dict[tuple[int, Target, int], Pool] = {}
_pools_lock = threading.Lock()


def shared_pool(target: Target, objects: ObjectCache, threads: int) -> Pool:
    """The pool of this process for a number of threads. After a fork the child gets its own."""
    key = (os.getpid(), target, threads)
    pool = _pools.get(key)
    if pool is not None:
        return pool
    with _pools_lock:
        if key not in _pools:
            _pools[key] = Pool(target, objects, threads)
        return _pools[key]


def _close_all() -> None:
    """Stop every thread of this process before its code is unloaded."""
    for (process, _, _), pool in list(_pools.items()):
        if process == os.getpid():
            pool.close()


def _forget_threads() -> None:
    """In a forked child: the threads are the parent's, and a lock may be held by one of them."""
    global _pools_lock
    _pools_lock = threading.Lock()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_threads)


def threads_available(wish: int | None = None) -> int:
    """Threads that are worth having: the processors this process may use, at most `wish`."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = _processor_quota()
    if quota is not None:
        count = min(count, max(1, round(quota)))
    return max(1, count if wish is None else min(count, wish))


def _processor_quota() -> float | None:
    """Processors' worth of time that the control group allows; None for no limit."""
    try:
        if _CPU_MAX.exists():
            quota, period = _CPU_MAX.read_text().split()
        else:
            quota, period = _QUOTA.read_text(), _PERIOD.read_text()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):  # no such file, or `max`
        return None


@cache
def _address_of_syscall() -> int:
    address = ctypes.cast(ctypes.CDLL(None).syscall, ctypes.c_void_p).value
    assert address is not None
    return address
