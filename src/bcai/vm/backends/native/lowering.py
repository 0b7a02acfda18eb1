"""How a task of the plan becomes launches: one function an instruction, listed in `kernels`."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from bcai.vm.backends.native.launch import Launch
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.plan import Buffer, OpTask, Role


@dataclass(slots=True)
class Scope:
    """What a lowering can ask for. Values never change, so what is made from one can be kept."""

    target: Target
    threads: int
    buffers: list[Buffer]
    """Of the whole plan; temporaries are added at the end."""
    launches: list[Launch] = field(default_factory=list[Launch])
    """Those written so far, in order."""
    _made: dict[Hashable, int] = field(default_factory=dict[Hashable, int])

    def temporary(self, nbytes: int) -> int:
        """Number of a new temporary buffer, aligned to 64 bytes."""
        self.buffers.append(Buffer(len(self.buffers), nbytes, Role.TEMPORARY))
        return self.buffers[-1].number

    def once(self, key: Hashable, nbytes: int, make: Callable[[int], Sequence[Launch]]) -> int:
        """Number of the buffer that `make` fills, such as a packed operand.

        Who asks again with the same key gets the same buffer. The key names the view that it is
        made from and the form.
        """
        if key not in self._made:
            number = self.temporary(nbytes)
            self.launches += make(number)
            self._made[key] = number
        return self._made[key]


Lowering = Callable[[OpTask, Scope], Sequence[Launch] | None]
"""Launches for a task, or None for what has no native code: the definition runs it."""
