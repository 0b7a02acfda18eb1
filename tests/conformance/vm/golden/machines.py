"""Machines that run a memory image: this process, and an emulated AArch64."""

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tests.conformance.vm.golden.image import CALL, Image

from bcai.vm.backends.native.launch import Kernel
from bcai.vm.backends.native.llvm import (
    I64,
    POINTER,
    VOID,
    Function,
    Module,
    Number,
    Value,
)
from bcai.vm.backends.native.objects import LoadedObject, compile_object, this_machine
from bcai.vm.backends.native.symbols import BYTES_ONLY, undefined_symbols
from bcai.vm.backends.native.target import AVX2, AVX512, NEON, SSE, Target
from bcai.vm.isa.types import Array

RUN_S_MAX = 120.0
_SYSTEM = Path(__file__).with_name("aarch64_system.ll")
_LINKERS = ("aarch64-linux-gnu-ld", "ld.lld")
_EMULATORS = ("qemu-aarch64", "qemu-aarch64-static")
_HERE = {AVX512: (AVX512, AVX2, SSE), AVX2: (AVX2, SSE), SSE: (SSE,), NEON: (NEON,)}
_PARAMETERS = (POINTER, I64, I64, POINTER)


def targets_here() -> tuple[Target, ...]:
    """Targets whose code this processor runs."""
    best = this_machine()
    return () if best is None else _HERE[best]


def emulation_missing() -> str:
    """Why AArch64 cannot be emulated here, or nothing."""
    for names, package in ((_EMULATORS, "qemu-user"), (_LINKERS, "binutils-aarch64-linux-gnu")):
        if _first(names) is None:
            return f"no {names[0]}: install Debian's package {package}"
    return ""


@cache
def _first(names: tuple[str, ...]) -> str | None:
    return next(filter(None, map(shutil.which, names)), None)


def write_kernels(kernels: Sequence[Kernel], target: Target) -> str:
    """The text of a module with these kernels."""
    module = Module("kernels", target.triple)
    for kernel in kernels:
        if not module.has(kernel.symbol):
            kernel.write(module, target)
    return str(module)


def run_image(image: Image, target: Target) -> Array:
    """Run an image; return the memory as it is afterwards. Raises ChildProcessError."""
    content = compile_object(write_kernels(image.kernels, target), target, jit=target is not NEON)
    unknown = undefined_symbols(content) - BYTES_ONLY
    assert not unknown, f"code for {target.name} calls {sorted(unknown)}"
    run = _run_here if target in targets_here() else _run_emulated
    memory = run(image, target, content)
    for index in range(image.count):
        assert image.call(memory, index)[0] == 0, f"call {index} refused its operands"
    return memory


def _run_here(image: Image, target: Target, content: bytes) -> Array:
    code = LoadedObject(content, target)
    memory = np.zeros(image.memory.size + 64, np.uint8)
    memory = memory[-memory.ctypes.data % 64 :][: image.memory.size]
    memory[:] = image.memory
    base = memory.ctypes.data
    for place in image.addresses:
        memory[place : place + 8].view(np.int64)[:] += base
    kind = ctypes.CFUNCTYPE(
        ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
    )
    kernels = [kind(code.address(kernel.symbol)) for kernel in image.kernels]
    for index in range(image.count):
        numbers = image.call(memory, index)
        kernel, arguments, begin, end, scratch = map(int, numbers)
        numbers[0] = kernels[kernel](base + arguments, begin, end, base + scratch)
    return memory


def _run_emulated(image: Image, target: Target, content: bytes) -> Array:
    emulator, linker = _first(_EMULATORS), _first(_LINKERS)
    assert emulator is not None, emulation_missing()
    assert linker is not None, emulation_missing()
    texts = (
        _start([kernel.symbol for kernel in image.kernels]),
        _system(image.memory.size),
    )
    objects = [content, *(compile_object(text, target, jit=False) for text in texts)]
    with TemporaryDirectory() as folder:
        paths = [Path(folder, f"{index}.o") for index in range(len(objects))]
        for path, each in zip(paths, objects, strict=True):
            path.write_bytes(each)
        program = Path(folder, "program")
        # subprocess without a shell, on names found by shutil.which
        subprocess.run([linker, "-static", "-e", "_start", "-o", program, *paths], check=True)
        done = subprocess.run(
            [emulator, program],
            input=image.memory.tobytes(),
            stdout=subprocess.PIPE,
            timeout=RUN_S_MAX,
            check=False,
        )
    if done.returncode or len(done.stdout) != image.memory.size:
        raise ChildProcessError(f"the emulator ended with {done.returncode}")
    return np.frombuffer(done.stdout, np.uint8)


def _system(size: int) -> str:
    return _SYSTEM.read_text("utf-8").replace("SIZE", str(size))


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
