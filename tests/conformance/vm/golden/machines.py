"""Machines that run a memory image: this processor, and an emulated AArch64."""

import ctypes
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache

import numpy as np
from tests.conformance.vm.golden.emulator import emulate
from tests.conformance.vm.golden.image import Image

from bcai.vm.backends.native.launch import Kernel
from bcai.vm.backends.native.llvm import Module
from bcai.vm.backends.native.objects import LoadedObject, compile_object, this_machine
from bcai.vm.backends.native.symbols import BYTES_ONLY, undefined_symbols
from bcai.vm.backends.native.target import AVX2, AVX512, NEON, SSE, Target
from bcai.vm.isa.types import Array

CODES_MAX = 256
"""Codes that are kept."""
_HERE = {AVX512: (AVX512, AVX2, SSE), AVX2: (AVX2, SSE), SSE: (SSE,), NEON: (NEON,)}
_ENTRY = ctypes.CFUNCTYPE(
    ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
)


def targets_here() -> tuple[Target, ...]:
    """Targets whose code this processor runs, the best first."""
    best = this_machine()
    return () if best is None else _HERE[best]


def run_image(image: Image, target: Target) -> Array:
    """Run an image; return the memory as it is afterwards. Raises ChildProcessError."""
    libraries: dict[str | None, dict[str, Kernel]] = {}
    for kernel in image.kernels:
        libraries.setdefault(kernel.library, {})[kernel.symbol] = kernel
    objects = tuple(_compile(_Kernels(each), target) for each in libraries.values())
    here = target in targets_here()
    memory = _run_here(image, target, objects) if here else emulate(image, objects)
    for index in range(image.count):
        assert image.call(memory, index)[0] == 0, f"call {index} refused its operands"
    return memory


class _Kernels:
    """Kernels of one library, equal if their symbols are."""

    def __init__(self, by_symbol: Mapping[str, Kernel]) -> None:
        self.by_symbol = by_symbol

    def __hash__(self) -> int:
        return hash(tuple(self.by_symbol))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kernels) and list(other.by_symbol) == list(self.by_symbol)


@lru_cache(CODES_MAX)
def _compile(kernels: _Kernels, target: Target) -> bytes:
    module = Module("kernels", target.triple)
    for kernel in kernels.by_symbol.values():
        kernel.write(module, target)
    content = compile_object(str(module), target, jit=target in targets_here())
    unknown = undefined_symbols(content) - BYTES_ONLY
    assert not unknown, f"code for {target.name} calls {sorted(unknown)}"
    return content


@lru_cache(CODES_MAX)
def _load(content: bytes, target: Target) -> LoadedObject:
    return LoadedObject(content, target)


def _run_here(image: Image, target: Target, objects: tuple[bytes, ...]) -> Array:
    codes = [_load(each, target) for each in objects]
    memory = np.zeros(image.memory.size + 64, np.uint8)
    memory = memory[-memory.ctypes.data % 64 :][: image.memory.size]
    memory[:] = image.memory
    base = memory.ctypes.data
    for place in image.addresses:
        memory[place : place + 8].view(np.int64)[:] += base
    kernels = [_ENTRY(_address(codes, kernel.symbol)) for kernel in image.kernels]
    for index in range(image.count):
        numbers = image.call(memory, index)
        kernel, arguments, begin, end, scratch = map(int, numbers)
        numbers[0] = kernels[kernel](base + arguments, begin, end, base + scratch)
    return memory


def _address(codes: Sequence[LoadedObject], symbol: str) -> int:
    for code in codes:
        with suppress(KeyError):
            return code.address(symbol)
    raise KeyError(symbol)
