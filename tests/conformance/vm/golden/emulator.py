"""An AArch64 processor, played by QEMU: runs memory images with code compiled for NEON.

llvmlite compiles the code and a small program around it that reads an image, runs it and writes it;
a linker joins them. No C compiler and no library takes part.
"""

import shutil
import subprocess
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tests.conformance.vm.golden.image import CALL, Image

from bcai.base.units import MIB
from bcai.vm.backends.native.llvm import (
    I64,
    POINTER,
    VOID,
    Function,
    Module,
    Number,
    Value,
)
from bcai.vm.backends.native.objects import compile_object
from bcai.vm.backends.native.target import NEON
from bcai.vm.isa.types import Array

RUN_S_MAX = 120.0
PROGRAMS_MAX = 64
"""Linked programs that are kept."""
_SYSTEM = Path(__file__).with_name("aarch64_system.ll")
_LINKERS = ("aarch64-linux-gnu-ld", "ld.lld")
_EMULATORS = ("qemu-aarch64", "qemu-aarch64-static")
_PARAMETERS = (POINTER, I64, I64, POINTER)


def emulation_missing() -> str:
    """Why AArch64 cannot be emulated here, or nothing."""
    for names, package in ((_EMULATORS, "qemu-user"), (_LINKERS, "binutils-aarch64-linux-gnu")):
        if _first(names) is None:
            return f"no {names[0]}: install Debian's package {package}"
    return ""


@cache
def _first(names: tuple[str, ...]) -> str | None:
    return next(filter(None, map(shutil.which, names)), None)


def emulate(image: Image, objects: tuple[bytes, ...]) -> Array:
    """Run an image with this code; return the memory afterwards. Raises ChildProcessError."""
    emulator = _first(_EMULATORS)
    assert emulator is not None, emulation_missing()
    size = -(-image.memory.size // MIB) * MIB
    program = _link(objects, tuple(kernel.symbol for kernel in image.kernels), size)
    done = subprocess.run(
        [emulator, program.path],
        input=image.memory.tobytes() + bytes(size - image.memory.size),
        stdout=subprocess.PIPE,
        timeout=RUN_S_MAX,
        check=False,
    )
    if done.returncode or len(done.stdout) != size:
        raise ChildProcessError(f"the emulator ended with {done.returncode}")
    return np.frombuffer(done.stdout, np.uint8)[: image.memory.size]


class _Program:
    """A linked program, in a folder that goes when it is no longer used."""

    def __init__(self, objects: Sequence[bytes]) -> None:
        linker = _first(_LINKERS)
        assert linker is not None, emulation_missing()
        self._folder = TemporaryDirectory()
        folder = Path(self._folder.name)
        self.path = folder / "program"
        paths = [folder / f"{index}.o" for index in range(len(objects))]
        for path, each in zip(paths, objects, strict=True):
            path.write_bytes(each)
        subprocess.run([linker, "-static", "-e", "_start", "-o", self.path, *paths], check=True)


@lru_cache(PROGRAMS_MAX)
def _link(objects: tuple[bytes, ...], symbols: tuple[str, ...], size: int) -> _Program:
    system = _SYSTEM.read_text("utf-8").replace("SIZE", str(size))
    more = (compile_object(text, NEON, jit=False) for text in (_start(symbols), system))
    return _Program([*objects, *more])


def _start(symbols: Sequence[str]) -> str:
    """A program that reads an image, runs it and writes it, as Note [Memory image] says."""
    module = Module("start", NEON.triple)
    kernels = [module.declared(each, I64, _PARAMETERS) for each in symbols]
    table = module.table("kernels", POINTER, kernels)
    f = module.function("_start", ())
    memory = f.call(module.declared("read_memory", POINTER, ()), ())
    base = f.b.ptrtoint(memory, I64)
    calls, count, addresses, address_count = (_number(f, memory, 8 * each) for each in range(4))
    with f.loop(0, address_count) as loop:
        slot = f.offset(memory, _number(f, memory, f.add(addresses, f.mul(loop.index, 8))))
        f.store(f.add(f.load(slot, I64), base), slot)
    with f.loop(0, count) as loop:
        call = f.add(calls, f.mul(loop.index, 8 * CALL))
        kernel, arguments, begin, end, scratch = (
            _number(f, memory, f.add(call, 8 * each)) for each in range(CALL)
        )
        address = f.load_pointer(f.offset(table, kernel, POINTER))
        places = (f.offset(memory, arguments), begin, end, f.offset(memory, scratch))
        f.store(f.call_address(address, _PARAMETERS, places, I64), f.offset(memory, call))
    f.call(module.declared("write_memory", VOID, ()), ())
    f.give()
    return str(module)


def _number(f: Function, memory: Value, place: Number) -> Value:
    return f.load(f.offset(memory, place), I64)
