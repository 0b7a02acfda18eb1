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


class Code:
    """Machine code of some kernels. Addresses hold as long as this lives."""

    def __init__(self, objects: list[LoadedObject], addresses: dict[str, int]) -> None:
        self._objects = objects
        self.addresses = addresses
        """Address of each entry point, by symbol."""


_lock = threading.Lock()
_loaded: WeakValueDictionary[str, LoadedObject] = WeakValueDictionary()


def load_kernels(kernels: Iterable[Kernel], target: Target, objects: ObjectCache) -> Code:
    """Load the code of kernels, compiled where neither this process nor the cache has it."""
    groups: dict[str | None, dict[str, Kernel]] = {}
    for kernel in kernels:
        groups.setdefault(kernel.library, {})[kernel.symbol] = kernel
    loaded: list[LoadedObject] = []
    addresses: dict[str, int] = {}
    for library, group in groups.items():
        held = _load_group(library or "program", group, target, objects)
        loaded.append(held)
        addresses |= {symbol: held.address(symbol) for symbol in group}
    return Code(loaded, addresses)


def _load_group(
    name: str, group: dict[str, Kernel], target: Target, objects: ObjectCache
) -> LoadedObject:
    symbols = sorted(group)
    key = object_key("\n".join((_writers(), *symbols)), target, LEVEL)
    with _lock:
        held = _loaded.get(key)
        if held is not None:
            return held
        content = objects.get(key)
        if content is None:
            module = Module(name, target.triple)
            for symbol in symbols:
                group[symbol].write(module, target)
            content = compile_object(str(module), target, level=LEVEL)
            objects.put(key, content)
        held = _loaded[key] = LoadedObject(content, target)
        return held


@cache
def _writers() -> str:
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
