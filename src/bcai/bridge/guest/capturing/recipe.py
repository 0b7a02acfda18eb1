"""What a rule has written for a call, to be written again for the next call that is like it.

Note [Calls that are alike]
    Steps of a loop make the same calls. A rule sees types, numbers, and which operands are one
    value; where all these are equal it writes the same instructions, so they are kept and appended
    again with the new operands, without the rule. The part comes out as if the rule had run, to
    the bit, and the node verifies it as any other: nothing is believed for it. A call that draws
    is never kept, since its key comes from the script's generator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch

from bcai.vm.isa.attribute import Attribute
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import TensorType

RECIPES_MAX = 20_000
ABSENT = -1
"""In the place of an operand that no value stands for."""
Places = int | list[int | None] | None


class Written(NamedTuple):
    """An instruction; operands from 0 are values of the recipe, those below are -1 - operand."""

    op: Op
    attributes: Mapping[str, Attribute]
    first: int
    results: int
    operands: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Types of all its values, its scalars by their place, its instructions and results.

    Attributes
    ----------
    shown
        What torch said of the results, when the rule ran.
    """

    types: tuple[TensorType, ...]
    scalars: tuple[tuple[int, bytes], ...]
    instructions: tuple[Written, ...]
    results: Places
    shown: Any


class Recipes:
    """Recipes by call, and by which operands are the same value."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], dict[tuple[int, ...], Recipe]] = {}

    def of(self, key: tuple[object, ...] | None) -> dict[tuple[int, ...], Recipe] | None:
        """Recipes for such a call, by `sharing`."""
        return None if key is None else self._known.get(key)

    def keep(
        self, key: tuple[object, ...] | None, shared: tuple[int, ...], recipe: Recipe | None
    ) -> None:
        """Keep what a rule has written; the oldest go where there are too many."""
        if key is None or recipe is None:
            return
        if len(self._known) >= RECIPES_MAX:
            del self._known[next(iter(self._known))]
        self._known.setdefault(key, {})[shared] = recipe


def sharing(operands: Sequence[int]) -> tuple[int, ...]:
    """Which operands are the same value, whatever its number; `ABSENT` stays what it is."""
    seen: dict[int, int] = {ABSENT: ABSENT}
    return tuple([seen.setdefault(each, len(seen)) for each in operands])


def call_key(
    func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[object, ...] | None:
    """All that a rule can see of a call but its tensors' values; None if it may see more.

    Torch's default type is what numbers of Python and new tensors become.
    """
    parts: list[object] = [func, torch.get_default_dtype()]
    try:
        for each in args:
            _add(parts, each)
        for name, each in kwargs.items():
            parts.append(name)
            _add(parts, each)
        hash(key := tuple(parts))
    except TypeError:
        return None
    return key


def _add(parts: list[object], value: Any) -> None:
    if isinstance(value, torch.Tensor):
        parts += (value.shape, value.stride(), value.dtype, value.device)
    elif isinstance(value, (list, tuple)):
        several = cast("Sequence[Any]", value)
        parts += (list, len(several))
        for each in several:
            _add(parts, each)
    elif isinstance(value, torch.Generator):
        raise TypeError
    elif value.__class__ is float and not value:
        parts.append(str(value))  # the zeros are equal, and their bits are not
    else:
        parts += (value.__class__, value)
