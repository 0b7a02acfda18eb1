"""Which backend runs a program, and why that one."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from bcai.base.errors import InputError, RefusedError
from bcai.vm.backends.cuda.backend import CudaBackend
from bcai.vm.backends.native.backend import NativeBackend, what_is_missing
from bcai.vm.backends.reference.backend import ReferenceBackend
from bcai.vm.compiler.backend import Backend

_KNOWN = ("auto", "reference", "native", "cpu", "cuda", "metal", "wgpu")
_ALIASES = {"cpu": "native"}
_HINT = "hardware_backend='auto' takes what there is"


@dataclass(frozen=True, slots=True)
class Choice:
    """A backend and the reason for it, in words for the user."""

    backend: Backend
    reason: str


def local_backends(
    threads: int | None = None, memory_bytes: int | None = None
) -> tuple[Backend, ...]:
    """Backends of this machine, the fastest first.

    `threads` and `memory_bytes` are what each may use at most; None for what there is.
    """
    if what_is_missing():
        return (ReferenceBackend(),)
    return (NativeBackend(threads, memory_bytes), ReferenceBackend())


def choose_backend(
    wish: str = "auto",
    available: Sequence[Backend] | None = None,
    *,
    threads: int | None = None,
) -> Choice:
    """Return the backend of that name, or for `auto` the first that is available.

    `available` are those of this machine unless given, which use at most so many `threads`; None
    for all. `cpu` is another name of `native`. `cuda` is never among them, and `auto` never takes
    it: its code has been compiled and emulated, but no GPU has run it yet. Who names it gets it
    where there is a GPU.

    Raises
    ------
    InputError
        There is no backend of that name anywhere.
    RefusedError
        This machine does not have it.
    """
    if wish not in _KNOWN:
        near = get_close_matches(str(wish), _KNOWN, n=1)
        ending = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"hardware_backend: no {wish!r}, expected one of {_KNOWN}{ending}")
    there = local_backends(threads) if available is None else available
    names = [each.name for each in there]
    name = _ALIASES.get(wish, wish)
    if wish == "auto":
        others = f"the first of {', '.join(names)}" if names[1:] else "the only one here"
        return Choice(there[0], f"auto: {others}; {there[0].device}")
    if name in names:
        backend = there[names.index(name)]
        return Choice(backend, f"as asked; {backend.device}")
    if name == "cuda":  # in no list: it has to be asked for
        return _open_cuda(names)
    why = f": {what_is_missing()}" if name == "native" and available is None else ""
    raise RefusedError(_absent(wish, why, names), hint=_HINT)


def _open_cuda(names: Sequence[str]) -> Choice:
    cuda = CudaBackend()
    try:
        return Choice(cuda, f"as asked; {cuda.device}")
    except RefusedError as refused:
        hint = refused.hint or _HINT
        raise RefusedError(_absent("cuda", f": {refused}", names), hint=hint) from refused


def _absent(wish: str, why: str, names: Sequence[str]) -> str:
    there = ", ".join(names)
    return f"hardware_backend: this machine has no {wish!r}{why}; it has {there}"
