"""What a case is, and how its results are compared."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Protocol

from bcai.vm.backends.native.target import Target
from bcai.vm.backends.reference.interpreter import canonical
from bcai.vm.isa.types import Array, TensorType


class Case(Protocol):
    """A computation whose bits are the same on every machine."""

    @property
    def name(self) -> str:
        """What the golden file calls it."""
        ...

    @property
    def is_long(self) -> bool:
        """Whether it takes seconds to compile."""
        ...

    def compute(self, target: Target) -> Iterator[tuple[str, Sequence[Array]]]:
        """Ways of computing it on a target, and what comes out."""
        ...

    def define(self) -> Sequence[Array]:
        """Results by the definition."""
        ...


def digest(results: Sequence[Array]) -> str:
    """SHA-256 of types and canonical bytes, in hexadecimal."""
    total = hashlib.sha256()
    for each in results:
        total.update(str(TensorType.of(each)).encode() + canonical(each).tobytes())
    return total.hexdigest()
