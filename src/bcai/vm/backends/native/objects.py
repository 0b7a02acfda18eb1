"""From LLVM IR to machine code in memory, through a cache on disk.

Note [Cache of objects]
    An object is stored under the hash of everything that decides it: the IR, the target, and the
    version of LLVM. A file is written beside its place and renamed into it, so that two writers
    cannot mix; it ends with a checksum of its key and content, and one that does not match is
    compiled anew. Where the folder cannot be written or the disk is full, compiling goes on and
    only the speed is lost. Over `CACHE_BYTES_MAX` the files longest unused are removed.

    What is in the folder runs with all rights of who runs us, and the checksum keeps out accidents,
    not people. So a folder is refused that belongs to another user, or that another may write to.
"""

import hashlib
import os
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from bcai.base.units import MIB
from bcai.vm.backends.native.symbols import BYTES_ONLY, undefined_symbols
from bcai.vm.backends.native.target import Target, host_target

CHECKSUM_BYTES = 32
FORMAT = "1"
CACHE_BYTES_MAX = 512 * MIB
"""Some thousands of programs."""


class ObjectCache:
    """Machine code by content, in a folder that is private to its owner."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def refusal(self) -> str:
        """Why the folder is not used, or nothing."""
        try:
            found = self._folder.stat() if self._folder is not None else None
        except OSError:
            found = None  # `put` will make it, or find that it cannot
        if found is None:
            return ""
        if found.st_uid != os.geteuid():
            return f"{self._folder} belongs to another user"
        return f"other users can write to {self._folder}" if found.st_mode & 0o022 else ""

    def get(self, key: str) -> bytes | None:
        """Return the object of a key, or None if there is no whole one."""
        if self._folder is None or self.refusal():
            return None
        path = self._folder / f"{key}.o"
        try:
            stored = path.read_bytes()
        except OSError:
            return None
        with suppress(OSError):  # it may lie where nothing can be written
            os.utime(path)
        content, checksum = stored[:-CHECKSUM_BYTES], stored[-CHECKSUM_BYTES:]
        return content if _checksum(key, content) == checksum else None

    def put(self, key: str, content: bytes) -> None:
        """Store an object; does nothing where that is not possible."""
        if self._folder is None or self.refusal():
            return
        name = None
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(handle, "wb") as file:
                file.write(content + _checksum(key, content))
            Path(name).replace(self._folder / f"{key}.o")
            _remove_unused(self._folder)
        except OSError:
            if name is not None:
                with suppress(OSError):
                    Path(name).unlink(missing_ok=True)


def _checksum(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()


def _remove_unused(folder: Path) -> None:
    files = [(path.stat(), path) for path in folder.iterdir()]
    total = sum(stat.st_size for stat, _ in files)
    for stat, path in sorted(files, key=lambda each: each[0].st_mtime_ns):
        if total <= CACHE_BYTES_MAX:
            return
        path.unlink(missing_ok=True)
        total -= stat.st_size


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
    passes = builder.getModulePassManager()
    passes.run(module, builder)
    # llvmlite's own way of disposing of them does nothing: each compilation would leave its memory.
    llvm.NewPassManager._dispose(passes)
    passes.detach()
    return module, machine


def object_key(text: str, target: Target, level: int) -> str:
    """Hash of everything that decides an object's bytes."""
    version = ".".join(map(str, llvm.llvm_version_info))
    parts = (FORMAT, llvmlite.__version__, version, str(target), str(level), text)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class LoadedObject:
    """Machine code in memory. Addresses hold as long as this lives."""

    def __init__(self, content: bytes, target: Target) -> None:
        unknown = undefined_symbols(content) - BYTES_ONLY
        assert not unknown, f"code for {target.name} calls {', '.join(sorted(unknown))}"
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
