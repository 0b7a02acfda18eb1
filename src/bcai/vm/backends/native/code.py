"""Kernels as machine code: one object for each library, one for the program's own.

Note [Key of an object]
    An object's key is made from the kernels' symbols and the text of the code that writes them, not
    from the IR: writing IR takes Python longer than loading a finished object, and with the object
    at hand it is not written at all.
"""

import hashlib
import threading
from collections.abc import Iterable
from functools import cache
from importlib import resources
from importlib.metadata import version
from importlib.resources.abc import Traversable
from weakref import WeakValueDictionary

from bcai.vm.backends.native.launch import Kernel
from bcai.vm.backends.native.llvm import Module
from bcai.vm.backends.native.objects import LoadedObject, ObjectCache, compile_object, object_key
from bcai.vm.backends.native.target import Target

LEVEL = 3
_WRITERS = ("bcai.vm.backends.native", "bcai.vm.isa", "bcai.vm.compiler")
"""Packages whose text decides what a kernel of a given symbol does."""


Group = tuple[str, list[str]]
"""Key of an object, and the entry points that are wanted of it."""


class Code:
    """Machine code of some kernels. Addresses hold as long as this lives."""

    def __init__(self, objects: list[LoadedObject], groups: list[Group]) -> None:
        self._objects = objects
        self.groups = groups
        """The objects' keys and entry points."""
        self.addresses = {
            symbol: held.address(symbol)
            for held, (_, symbols) in zip(objects, groups, strict=True)
            for symbol in symbols
        }
        """Address of each entry point, by symbol."""


_lock = threading.RLock()
_loaded: WeakValueDictionary[str, LoadedObject] = WeakValueDictionary()


def load_kernels(kernels: Iterable[Kernel], target: Target, objects: ObjectCache) -> Code:
    """Load the code of kernels, compiled where neither this process nor the cache has it."""
    libraries: dict[str | None, dict[str, Kernel]] = {}
    for kernel in kernels:
        libraries.setdefault(kernel.library, {})[kernel.symbol] = kernel
    loaded: list[LoadedObject] = []
    groups: list[Group] = []
    for library, group in libraries.items():
        symbols = sorted(group)
        key = object_key("\n".join((writers(), *symbols)), target, LEVEL)
        with _lock:
            held = _find(key, target, objects)
            if held is None:
                content = _compile(library or "program", group, target)
                objects.put(key, content)
                held = _loaded[key] = LoadedObject(content, target)
        loaded.append(held)
        groups.append((key, symbols))
    return Code(loaded, groups)


def find_code(groups: list[Group], target: Target, objects: ObjectCache) -> Code | None:
    """Code that was compiled before; None if some of it is not there any more."""
    with _lock:
        loaded = [_find(key, target, objects) for key, _ in groups]
    there = [each for each in loaded if each is not None]
    return Code(there, groups) if len(there) == len(groups) else None


def _find(key: str, target: Target, objects: ObjectCache) -> LoadedObject | None:
    held = _loaded.get(key)
    if held is not None:
        return held
    content = objects.get(key)
    if content is None:
        return None
    held = _loaded[key] = LoadedObject(content, target)
    return held


def _compile(name: str, group: dict[str, Kernel], target: Target) -> bytes:
    module = Module(name, target.triple)
    for symbol in sorted(group):
        group[symbol].write(module, target)
    return compile_object(str(module), target, level=LEVEL)


@cache
def writers() -> str:
    """Hash of the text of everything that writes code."""
    digest = hashlib.sha256(version("bcai").encode())
    for package in _WRITERS:
        for file in _sources(resources.files(package)):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _sources(folder: Traversable) -> Iterable[Traversable]:
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        if entry.name.endswith(".py"):
            yield entry
        elif entry.is_dir() and entry.name != "__pycache__":
            yield from _sources(entry)
