"""Runs launches directly, without a plan of memory and without threads."""

import ctypes
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from bcai.vm.backends.native.launch import Address, Kernel, Launch
from bcai.vm.backends.native.llvm import Module
from bcai.vm.backends.native.objects import LoadedObject, ObjectCache, load_code, this_machine
from bcai.vm.backends.native.target import AVX2, AVX512, SSE, Target
from bcai.vm.isa.types import Array

MemoryLike = bytearray | Array
SPLITS_WHOLE: tuple[float, ...] = ()
SPLITS_UNEVEN = (0.1, 0.15, 0.6)
"""Where [0, units) is cut, as fractions."""

_loaded: dict[tuple[str, str], tuple[LoadedObject, Any]] = {}
_ENTRY = ctypes.CFUNCTYPE(
    ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
)


def targets() -> list[Target]:
    """Targets that this machine can run, best first; SSE last."""
    host = this_machine()
    if host is None:
        return []
    order = [AVX512, AVX2, SSE]
    return order[order.index(host) :] if host in order else [host]


def each_target() -> list[Any]:
    """Parameters of a test: every target of x86, skipped where the processor lacks it."""
    able = targets()
    names = [*dict.fromkeys([AVX512, AVX2, SSE, *able])]
    return [
        pytest.param(
            each,
            id=each.name,
            marks=[]
            if each in able
            else pytest.mark.skip(
                reason=f"the processor has no {each.name}; run it on one that has"
            ),
        )
        for each in names
    ]


def aligned(nbytes: int, fill: int = 0xCB) -> Array:
    """Bytes that start at a multiple of 64, with content that is no one's result."""
    memory = np.full(nbytes + 64, fill, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + nbytes]


def loaded(kernel: Kernel, target: Target) -> Any:
    """The compiled entry point of a kernel, as a function of ctypes."""
    key = (kernel.symbol, target.name)
    if key not in _loaded:
        module = Module(kernel.symbol, target.triple)
        kernel.write(module, target)
        code = load_code(str(module), target, ObjectCache(None), level=3)
        _loaded[key] = code, _ENTRY(code.address(kernel.symbol))
    return _loaded[key][1]


def run_launches(
    launches: Sequence[Launch],
    buffers: Sequence[MemoryLike],
    target: Target,
    splits: Sequence[float] = SPLITS_WHOLE,
) -> int:
    """Run launches one after the other; return the first result that is not 0, else 0.

    `buffers` are writable memory by number. The units of each launch are cut at `splits` and the
    parts are run last first, so that nothing can lean on their order.
    """
    addresses = [address_of(each) for each in buffers]
    for launch in launches:
        slots = np.array(
            [
                addresses[each.buffer] + each.offset if isinstance(each, Address) else each
                for each in launch.arguments
            ]
            or [0],
            np.int64,
        )
        scratch = aligned(max(64, launch.scratch_bytes))
        cuts = [0, *(int(launch.units * each) for each in splits), launch.units]
        parts = [(low, high) for low, high in pairwise(cuts) if high > low]
        run = loaded(launch.kernel, target)
        for low, high in reversed(parts):
            fault = run(slots.ctypes.data, low, high, scratch.ctypes.data)
            if fault:
                return int(fault)
    return 0


def address_of(memory: MemoryLike) -> int:
    """Where a buffer lies."""
    if isinstance(memory, np.ndarray):
        return memory.ctypes.data
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
