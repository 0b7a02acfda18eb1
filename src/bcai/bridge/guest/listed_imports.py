"""Keeps a node's import policy: what the job's own code may import. A policy, not a wall.

Judged by who imports: a library that is allowed may import whatever it needs. What a library has
loaded already, Python hands out without asking anybody.
"""

import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from bcai.bridge.guest import surroundings


class ListedImports:
    """The first finder that Python asks."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = sys.stdlib_module_names.union(allowed)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Let the other finders look, hand out the job's own module, or refuse.

        Raises
        ------
        ImportError
            The job's own code asks for a package that is here and not listed.
        """
        if path is not None or name in self._allowed or not _is_asked_by_user():
            return None
        spec = PathFinder.find_spec(name)
        if spec is None or _is_own(spec):
            return spec
        from bcai.bridge.inspect.policy import refusal_text

        raise ImportError(refusal_text(name), name=name)


def ask_before_imports(allowed: Iterable[str]) -> None:
    """Ask `ListedImports` from now on."""
    sys.meta_path.insert(0, ListedImports(allowed))


def _is_asked_by_user() -> bool:
    """Whether the innermost frame that is nobody's machinery is in a file of the job."""
    frame = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        file = frame.f_code.co_filename
        is_passed = file.startswith("<") or file.endswith("/importlib/__init__.py")
        if not is_passed:
            return file.startswith(surroundings.folders)
        frame = frame.f_back
    return True


def _is_own(spec: ModuleSpec) -> bool:
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return any(place.startswith(surroundings.folders) for place in places)
