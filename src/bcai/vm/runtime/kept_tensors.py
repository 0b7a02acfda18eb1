"""Tensors that a machine keeps between programs, within a number of bytes.

Note [Kept tensors]
    A program's own tensors are in its peak, which is known before it runs. What is kept besides
    must fit into the rest: where it does not, tensors are compressed, the one that was used the
    longest ago first, until it does. A compressed tensor counts with its compressed bytes, and is
    the same bit for bit when it is brought back. What gains too little by it stays as it is. Only
    when this is not enough a tensor or a program is refused. While one is compressed or brought
    back it takes up to twice its bytes more.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from bcai.base.errors import RefusedError
from bcai.base.units import format_size
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.runtime.stored_tensor import compress, decompress

SHARE_MAX = 0.9
"""Of its bytes a compressed tensor takes at most so much, or it is not worth the time."""


@dataclass(slots=True)
class _Kept:
    type: TensorType
    content: Array | bytes
    """Bytes: compressed."""
    used: int
    """Larger: later."""
    is_tight: bool = False
    """Whether compressing it was tried and gained too little."""

    @property
    def nbytes(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.type.nbytes


class KeptTensors:
    """Tensors by port; all are read-only.

    Parameters
    ----------
    bytes_max
        Of these tensors and the program that runs, together.
    compressing
        Whether tensors may be kept compressed.
    """

    def __init__(self, bytes_max: int, *, compressing: bool) -> None:
        self._bytes_max, self._compressing = bytes_max, compressing
        self._kept: dict[str, _Kept] = {}
        self._uses = 0

    def __iter__(self) -> Iterator[str]:
        """Ports, in the order in which they first got a value."""
        return iter(self._kept)

    @property
    def nbytes(self) -> int:
        """Bytes taken; compressed tensors count as they are."""
        return self._bytes_besides(())

    @property
    def types(self) -> dict[str, TensorType]:
        """Each tensor's type."""
        return {port: each.type for port, each in self._kept.items()}

    def get(self, port: str) -> Array | None:
        """A tensor, or None. A compressed one is brought back, for good if there is room."""
        kept = self._kept.get(port)
        if kept is None:
            return None
        kept.used = self._next_use()
        if not isinstance(kept.content, bytes):
            return kept.content
        array = decompress(kept.content)
        array.flags.writeable = False
        if self._has_room(kept.type.nbytes, (port,)):
            kept.content = array
        return array

    def set(self, port: str, array: Array, name: str) -> None:
        """Keep a value. Raises RefusedError, with the name, if there is no room for it."""
        if not self._has_room(array.nbytes, (port,)):
            raise RefusedError(
                f"{name}: {format_size(array.nbytes)} do not fit beside "
                f"{format_size(self._bytes_besides((port,)))} of other tensors; "
                f"max_memory_mb allows {format_size(self._bytes_max)}"
            )
        self.put(port, array)

    def put(self, port: str, array: Array) -> None:
        """Keep a value for which there is room."""
        array.flags.writeable = False  # who sees it sees what the machine keeps
        self._kept[port] = _Kept(TensorType.of(array), array, self._next_use())

    def make_room(self, bytes_peak: int, ports: Collection[str]) -> None:
        """Let a program of so many bytes run, these tensors of its own included.

        Raises
        ------
        RefusedError
            The other tensors take too much, compressed as they are.
        """
        if not self._has_room(bytes_peak, ports):
            raise RefusedError(
                f"the program needs {format_size(bytes_peak)} at its peak, other tensors that are "
                f"kept take {format_size(self._bytes_besides(ports))}, "
                f"max_memory_mb allows {format_size(self._bytes_max)}",
                hint="MLInstruction.Free(id=...) forgets a tensor",
            )

    def drop(self, port: str) -> None:
        """Forget a tensor."""
        self._kept.pop(port, None)

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()

    def _has_room(self, nbytes: int, ports: Collection[str]) -> bool:
        """Whether so many bytes fit beside all tensors but these; compresses others for it."""
        excess = self._bytes_besides(ports) + nbytes - self._bytes_max
        others = [each for port, each in self._kept.items() if port not in ports]
        for each in sorted(others, key=lambda kept: kept.used):
            if excess <= 0 or nbytes > self._bytes_max or not self._compressing:
                break
            if each.is_tight or isinstance(each.content, bytes):
                continue
            packed = compress(each.content)
            if len(packed) > SHARE_MAX * each.nbytes:
                each.is_tight = True
                continue
            excess -= each.nbytes - len(packed)
            each.content = packed
        return excess <= 0

    def _bytes_besides(self, ports: Collection[str]) -> int:
        return sum(each.nbytes for port, each in self._kept.items() if port not in ports)

    def _next_use(self) -> int:
        self._uses += 1
        return self._uses
