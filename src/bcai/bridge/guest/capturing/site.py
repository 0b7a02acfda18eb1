"""One operation of the script, as the export's rules see it."""

import struct
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.fx import Node

from bcai.bridge.guest.capturing.part import Part
from bcai.bridge.guest.export.site import Draws, Operand, Site, first
from bcai.bridge.guest.export.types import UnsupportedError, type_of
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType, TensorType


class Called:
    """Stands for the node of a graph: the operation, its arguments, and what torch says of it."""

    def __init__(self, target: object, args: tuple[Any, ...], value: object) -> None:
        self.target = target
        self.args = args
        self.kwargs: dict[str, Any] = {}
        self.meta = {"val": value}
        self.users: dict[Node, None] = {}


_FLOAT32 = struct.Struct("<f")
_FLOAT32_MAX = 3e38


@dataclass(frozen=True, slots=True)
class CaptureSite(Site):
    """Takes the script's numbers as inputs of the part, so that a step's program stays the same."""

    def cast(self, operand: Operand, dtype: DType) -> Symbol:
        """The operand in an element type; a number becomes an input."""
        if isinstance(operand, Symbol):
            return operand.cast(dtype)
        return number(cast("Part", self.builder), operand, dtype)

    @property
    def out(self) -> TensorType:
        """Type of the first result. Raises UnsupportedError if nobody asked for it."""
        value = first(self.node.meta["val"])
        if cast("torch.Tensor | None", value) is None:
            raise UnsupportedError("the type of a result that nobody asked for")
        return type_of(value)

    def reads(self, index: int) -> bool:
        """Whether anything reads result `index`: what nobody does is left out of the part later."""
        del index
        return True


def number(part: Part, value: float, dtype: DType) -> Symbol:
    """A scalar whose value comes with the part."""
    if dtype is DType.bool:
        return part.scalar(bytes([bool(value)]), TensorType(dtype))
    if value.__class__ is float and dtype is DType.float32 and abs(value) < _FLOAT32_MAX:
        return part.scalar(_FLOAT32.pack(value), TensorType(dtype))  # as torch rounds it, sooner
    content = torch.tensor(value, dtype=getattr(torch, dtype.name))
    return part.scalar(bytes(_flat(content)), TensorType(dtype))


def _flat(tensor: torch.Tensor) -> Any:
    return tensor.reshape(1).view(torch.uint8).numpy()


class Seeds(Draws):
    """Draws keyed by a number that the script's own generator gives, so that its seeds count."""

    def __init__(self, part: Part, generator: torch.Generator | None) -> None:
        super().__init__()
        self._part, self._generator = part, generator
        self.drawn = 0

    def next(self) -> tuple[Symbol, Symbol, int]:
        """Return a new key, step 0 and stream 0."""
        self.drawn += 1
        drawn = torch.empty((), dtype=torch.int64).random_(generator=self._generator)
        seed = number(self._part, int(drawn), DType.int64)
        step = self._part.emit("Full", (), {"shape": (), "value": 0.0, "dtype": DType.int64})[0]
        return seed, step, 0
