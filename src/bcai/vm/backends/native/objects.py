"""From LLVM IR to machine code in memory, through a cache on disk.

Note [Cache of objects]
    An object is stored under the hash of everything that decides it: the IR, the target, and the
    version of LLVM. A file is written beside its place and renamed into it, so that two writers
    cannot mix; it ends with its own checksum, and one that does not match is compiled anew. Where
    the folder cannot be written or the disk is full, compiling goes on and only the speed is lost.
"""

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from bcai.vm.backends.native.target import Target, host_target

CHECKSUM_BYTES = 32
FORMAT = "1"


class ObjectCache:
    """Machine code by content, in a folder that is private to its owner."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, key: str) -> bytes | None:
        """Return the object of a key, or None if there is no whole one."""
        if self._folder is None:
            return None
        try:
            stored = (self._folder / f"{key}.o").read_bytes()
        except OSError:
            return None
        content, checksum = stored[:-CHECKSUM_BYTES], stored[-CHECKSUM_BYTES:]
        return content if hashlib.sha256(content).digest() == checksum else None

    def put(self, key: str, content: bytes) -> None:
        """Store an object; does nothing where that is not possible."""
        if self._folder is None:
            return
        name = None
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(handle, "wb") as file:
                file.write(content + hashlib.sha256(content).digest())
            Path(name).replace(self._folder / f"{key}.o")
        except OSError:
            if name is not None:
                Path(name).unlink(missing_ok=True)


@cache
def this_machine() -> Target | None:
    """The target for this processor, or None if there is none."""
    return host_target(dict(llvm.get_host_cpu_features()))


@cache
def _target_machine(target: Target, jit: bool) -> llvm.TargetMachine:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=3,
        reloc="default" if jit else "pic",
        codemodel="jitdefault" if jit else "default",
        jit=jit,
    )


def compile_object(text: str, target: Target, *, level: int = 3, jit: bool = True) -> bytes:
    """Compile the text of a module to an object file."""
    module, machine = _optimised(text, target, level, jit)
    return bytes(machine.emit_object(module))


def compile_assembly(text: str, target: Target, *, level: int = 3) -> str:
    """Compile the text of a module to assembly, to be read."""
    module, machine = _optimised(text, target, level, False)
    return str(machine.emit_assembly(module))


def _optimised(
    text: str, target: Target, level: int, jit: bool
) -> tuple[llvm.ModuleRef, llvm.TargetMachine]:
    machine = _target_machine(target, jit)
    module = llvm.parse_assembly(text)
    module.data_layout = str(machine.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=level)
    options.slp_vectorization = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return module, machine


def object_key(text: str, target: Target, level: int) -> str:
    """Hash of everything that decides an object's bytes."""
    version = ".".join(map(str, llvm.llvm_version_info))
    parts = (FORMAT, llvmlite.__version__, version, str(target), str(level), text)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class LoadedObject:
    """Machine code in memory. Addresses hold as long as this lives."""

    def __init__(self, content: bytes, target: Target) -> None:
        machine = _target_machine.__wrapped__(target, True)  # an engine takes its machine over
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(content))
        self._engine.finalize_object()

    def address(self, symbol: str) -> int:
        """Address of a function. Raises KeyError."""
        address: int = self._engine.get_function_address(symbol)
        if not address:
            raise KeyError(symbol)
        return address


def load_code(text: str, target: Target, objects: ObjectCache, *, level: int = 3) -> LoadedObject:
    """Take the object of a module from the cache, or compile it; load it."""
    key = object_key(text, target, level)
    content = objects.get(key)
    if content is None:
        content = compile_object(text, target, level=level)
        objects.put(key, content)
    return LoadedObject(content, target)
