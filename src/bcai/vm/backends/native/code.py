"""Kernels as machine code: one object for each library, one for the program's own.

Note [Key of an object]
    An object's key is made from the kernels' symbols and the text of the code that writes them, not
    from the IR: writing IR takes Python longer than loading a finished object, and with the object
    at hand it is not written at all.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib import resources
from importlib.metadata import version
from importlib.resources.abc import Traversable
from weakref import WeakValueDictionary

from bcai.vm.backends.native.launch import Kernel
from bcai.vm.backends.native.llvm import Module
from bcai.vm.backends.native.objects import LoadedObject, ObjectCache, compile_object, object_key
from bcai.vm.backends.native.target import Target
from bcai.vm.backends.reference.float_mode import default_float_mode

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
    groups: list[Group] = []
    texts: dict[str, Callable[[], str]] = {}
    for library, group in libraries.items():
        symbols = sorted(group)
        key = object_key("\n".join((writers(), *symbols)), target, LEVEL)
        groups.append((key, symbols))
        texts[key] = partial(_write, library or "program", group, target)
    with _lock:
        found = {key: _find(key, target, objects) for key in texts}
        lacking = {key: texts[key] for key, held in found.items() if held is None}
        for key, content in _compile(lacking, target).items():
            objects.put(key, content)
            found[key] = _loaded[key] = LoadedObject(content, target)
    return Code([held for held in found.values() if held is not None], groups)


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


def _compile(texts: Mapping[str, Callable[[], str]], target: Target) -> dict[str, bytes]:
    """Objects by key. LLVM compiles one on a thread of its own while Python writes the next."""
    if not texts:
        return {}
    with ThreadPoolExecutor(1, "bcai-compile") as compiler:
        try:
            begun = {
                key: compiler.submit(_compile_text, write(), target) for key, write in texts.items()
            }
            return {key: content.result() for key, content in begun.items()}
        finally:
            compiler.shutdown(wait=False, cancel_futures=True)


@default_float_mode()
def _compile_text(text: str, target: Target) -> bytes:
    """A thread has a float mode of its own."""
    return compile_object(text, target, level=LEVEL)


def _write(name: str, group: dict[str, Kernel], target: Target) -> str:
    module = Module(name, target.triple)
    for symbol in sorted(group):
        group[symbol].write(module, target)
    return str(module)


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
