"""Attributes: the constants of an instruction, each with a kind that its declaration states."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args, get_origin

from bcai.vm.isa.types import DType

Attribute = int | float | bool | str | bytes | DType | tuple[int, ...] | tuple[float, ...]
AttributeKind = Literal["int", "float", "bool", "str", "bytes", "dtype", "ints", "floats"]
REQUIRED = inspect.Parameter.empty

_KINDS: dict[Any, AttributeKind] = {
    int: "int",
    float: "float",
    bool: "bool",
    str: "str",
    bytes: "bytes",
    DType: "dtype",
    tuple[int, ...]: "ints",
    tuple[float, ...]: "floats",
}


@dataclass(frozen=True, slots=True)
class AttributeSchema:
    """Name, kind, default and choices of one attribute."""

    name: str
    kind: AttributeKind
    default: Any = REQUIRED
    choices: tuple[str, ...] = ()

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is REQUIRED

    def check(self, value: object) -> Attribute:
        """Return the value in its one canonical Python form.

        Raises
        ------
        TypeError
            It is of another kind; the message says what was expected.
        """
        checked = _CHECKS[self.kind](value)
        if checked is None:
            raise TypeError(f"{self.name}: found {value!r}, expected {self.kind}")
        if self.choices and checked not in self.choices:
            raise TypeError(f"{self.name}: found {value!r}, expected one of {self.choices}")
        return checked


def is_text(value: str) -> bool:
    """Whether UTF-8 can hold it: it has no half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _int(value: object) -> int | None:
    if isinstance(value, bool | DType) or not isinstance(value, int):
        return None
    return int(value) if -(2**63) <= value < 2**63 else None


def _str(value: object) -> str | None:
    if not isinstance(value, str) or not is_text(value):
        return None
    return str.__str__(value)  # of an enum its value: canonical bytes know plain text alone


def _float(value: object) -> float | None:
    if isinstance(value, bool | DType) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1 << 53 or isinstance(value, float) else None


def _ints(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, tuple | list):
        return None
    items = [_int(item) for item in cast("Sequence[object]", value)]
    return tuple(item for item in items if item is not None) if None not in items else None


def _floats(value: object) -> tuple[float, ...] | None:
    if not isinstance(value, tuple | list):
        return None
    items = [_float(item) for item in cast("Sequence[object]", value)]
    return tuple(item for item in items if item is not None) if None not in items else None


_CHECKS: dict[AttributeKind, Callable[[object], Attribute | None]] = {
    "int": _int,
    "float": _float,
    "bool": lambda value: value if isinstance(value, bool) else None,
    "str": _str,
    "bytes": lambda value: value if isinstance(value, bytes) else None,
    "dtype": lambda value: value if isinstance(value, DType) else None,
    "ints": _ints,
    "floats": _floats,
}


def read_attribute(parameter: inspect.Parameter) -> AttributeSchema:
    """Derive the schema of an attribute from a keyword-only parameter."""
    if get_origin(parameter.annotation) is Literal:
        choices = get_args(parameter.annotation)
        return AttributeSchema(parameter.name, "str", parameter.default, choices)
    if parameter.annotation not in _KINDS:
        raise TypeError(f"attribute {parameter.name}: no kind for {parameter.annotation}")
    return AttributeSchema(parameter.name, _KINDS[parameter.annotation], parameter.default)
