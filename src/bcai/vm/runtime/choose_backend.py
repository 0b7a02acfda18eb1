"""Which backend runs a program, and why that one."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from bcai.base.errors import InputError, RefusedError
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.compiler.backend import Backend

BACKENDS: tuple[Backend, ...] = (ReferenceBackend(),)
"""Backends of this machine, the fastest first."""

_KNOWN = ("auto", "reference", "native", "cpu", "cuda", "metal", "wgpu")


@dataclass(frozen=True, slots=True)
class Choice:
    """A backend and the reason for it, in words for the user."""

    backend: Backend
    reason: str


def choose_backend(wish: str = "auto", available: Sequence[Backend] = BACKENDS) -> Choice:
    """Return the backend of that name, or for `auto` the first that is available.

    Raises
    ------
    InputError
        There is no backend of that name anywhere.
    RefusedError
        This machine does not have it.
    """
    names = [each.name for each in available]
    if wish == "auto":
        others = f"the first of {', '.join(names)}" if names[1:] else "the only one here"
        return Choice(available[0], f"auto: {others}")
    if wish in names:
        return Choice(available[names.index(wish)], "as asked")
    if wish not in _KNOWN:
        near = get_close_matches(wish, _KNOWN, n=1)
        ending = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"hardware_backend: no {wish!r}, expected one of {_KNOWN}{ending}")
    raise RefusedError(
        f"hardware_backend: this machine has no {wish!r}; it has {', '.join(names)}",
        hint="hardware_backend='auto' takes what there is",
    )
