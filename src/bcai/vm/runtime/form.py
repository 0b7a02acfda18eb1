"""Forms: the fields of one `MLInstruction`, and how it is written into a program.

Most forms are generated from the instruction set (`generated.py`); those of the two reference
documents that take other fields stand in `documented.py`.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Literal, Protocol, cast

from bcai.base.errors import InputError, VerifyError
from bcai.vm.isa.attribute import AttributeSchema
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.runtime.tensor_id import TensorId

REQUIRED = inspect.Parameter.empty
FieldKind = Literal["operand", "operands", "result", "results", "value"]
Fields = Mapping[str, object]
"""Checked values of a form's fields, by their first names."""
Operand = TensorId | float | None
"""What an operand field holds: a tensor, a number (a plain `int` is an id), or nothing."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: tensors that go in, tensors that come out, or a plain value."""

    name: str
    kind: FieldKind
    help: str
    default: object = REQUIRED
    aliases: tuple[str, ...] = ()
    check: Callable[[object], object] | None = None
    """Converts the value; raises TypeError."""


@dataclass(frozen=True, slots=True)
class Start:
    """The first value of a tensor that has none: evenly spread from `low` to `high`, or constant.

    `text` is `high` as the result names it, such as `1/sqrt(784)`.
    """

    type: TensorType
    low: float = 0.0
    high: float = 0.0
    text: str = ""


class Writer(Protocol):
    """Where a form writes its instructions; `translate.py` has the one."""

    def operand(self, value: object) -> Symbol | float | None:
        """Symbol of a tensor's present value; numbers and None as they are."""
        ...

    def tensor(self, value: object) -> Symbol:
        """Symbol of a tensor's present value; a number as a float32 scalar."""
        ...

    def emit(
        self, name: str, operands: Sequence[Symbol | float | None], attributes: Mapping[str, object]
    ) -> tuple[Symbol, ...]:
        """Append an instruction of the set."""
        ...

    def constant(self, array: Array) -> Symbol:
        """A constant of the program."""
        ...

    def port(self, name: str) -> Symbol:
        """Present value of a tensor that has no id, by its port's name."""
        ...

    def bind(self, target: object, symbol: Symbol) -> None:
        """Give a tensor (an id, a port's name, or None for nobody) a new value."""
        ...

    def free(self, target: object) -> None:
        """Forget a tensor."""
        ...


TypeOf = Callable[[object], TensorType | None]
"""Type of a tensor that has a value before the first instruction, else None."""


def no_starts(fields: Fields, type_of: TypeOf) -> Mapping[str, Start]:
    """Every tensor that is read must have a value."""
    del fields, type_of
    return {}


def _as_is(fields: Fields) -> Fields:
    return fields


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """Fields of one kind of instruction and how it is written.

    `starts` gives the first values of tensors (by port) that may be missing; `settle` finishes the
    fields once all are checked.
    """

    name: str
    doc: str
    fields: tuple[Field, ...]
    write: Callable[[Writer, Fields], None]
    starts: Callable[[Fields, TypeOf], Mapping[str, Start]] = no_starts
    settle: Callable[[Fields], Fields] = _as_is

    def bind(self, given: Mapping[str, object]) -> Fields:
        """Check fields and put them under their first names.

        Raises
        ------
        VerifyError
            A field is unknown, missing, given twice or of another kind.
        """
        homes = {alias: each for each in self.fields for alias in (each.name, *each.aliases)}
        found: dict[str, object] = {}
        for name, value in given.items():
            home = homes.get(name)
            if home is None:
                raise VerifyError(f"{self.name}: no field {name!r}{self._nearest(name, homes)}")
            if home.name in found:
                raise VerifyError(f"{self.name}: {name} is {home.name}, which is given already")
            found[home.name] = self._checked(home, name, value)
        for each in self.fields:
            if each.name not in found:
                if each.default is REQUIRED:
                    raise VerifyError(f"{self.name}: {each.name} ({each.help}) is missing")
                found[each.name] = each.default
        return self.settle({each.name: found[each.name] for each in self.fields})

    def reads(self, fields: Fields) -> list[TensorId]:
        """Tensors whose present values it takes, in order."""
        return list(_ids(fields[f.name] for f in self.fields if f.kind in ("operand", "operands")))

    def writes(self, fields: Fields) -> list[TensorId]:
        """Tensors that it gives new values."""
        return list(_ids(fields[f.name] for f in self.fields if f.kind in ("result", "results")))

    @property
    def signature(self) -> inspect.Signature:
        """Keyword-only fields, as `help()` shows them."""
        return inspect.Signature([
            inspect.Parameter(
                each.name, inspect.Parameter.KEYWORD_ONLY, default=_shown(each.default)
            )
            for each in self.fields
        ])  # fmt: skip

    @property
    def manual(self) -> str:
        """What it does, and each field with its other names."""
        rows = [
            f"    {' | '.join((each.name, *each.aliases))}: {each.help}"
            + ("" if each.default is REQUIRED else f" (default {_shown(each.default)!r})")
            for each in self.fields
        ]
        return "\n".join([self.doc.rstrip(), "", "Fields:", *rows])

    def _nearest(self, name: str, homes: Iterable[str]) -> str:
        near = get_close_matches(name, list(homes), n=1, cutoff=0.5)
        ending = f"; did you mean {near[0]!r}?" if near else ""
        return f"; it has {', '.join(each.name for each in self.fields)}{ending}"

    def _checked(self, field: Field, name: str, value: object) -> object:
        try:
            if field.check is not None:
                return field.check(value)
            if field.kind == "value":
                return value
            if field.kind == "operand":
                return operand(value, optional=field.default is None)
            if field.kind == "result":
                return _result(value)
            items = cast("Sequence[object]", value)
            if not isinstance(value, list | tuple):
                raise TypeError(f"found {value!r}, expected a list of tensors")
            if field.kind == "operands":
                return tuple(operand(each, optional=False) for each in items)
            return tuple(None if each is None else _result(each) for each in items)
        except (TypeError, ValueError, InputError) as error:
            text = str(error)
            start = "" if text.startswith(f"{name}: ") else f"{name}: "
            raise VerifyError(f"{self.name}: {start}{text}") from error


def operand(value: object, *, optional: bool) -> Operand:
    """A tensor's id (a whole number is one) or a number that stands for a scalar."""
    if value is None and optional:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value if isinstance(value, TensorId) else TensorId(value)
    if isinstance(value, float):
        return value
    raise TypeError(f"found {value!r}, expected a TensorId")


def _result(value: object) -> TensorId:
    found = operand(value, optional=False)
    if not isinstance(found, TensorId):
        raise TypeError(f"found {value!r}, expected a TensorId")
    return found


def attribute_check(schema: AttributeSchema) -> Callable[[object], object]:
    """Check of an attribute's field, with enums and element types as users write them."""

    def check(value: object) -> object:
        if schema.kind == "dtype":
            return dtype_of(value)
        plain = value.value if isinstance(value, Enum) and not isinstance(value, DType) else value
        return schema.check(plain)

    return check


def dtype_of(value: object) -> DType:
    """Element type of a `DataType`, a `DType`, a name or a NumPy dtype. Raises FormatError."""
    if isinstance(value, DType):
        return value
    if isinstance(value, Enum) and isinstance(value.value, DType):
        return value.value
    return DType.of(cast("str", value))


def _ids(values: Iterable[object]) -> Iterable[TensorId]:
    for value in values:
        if isinstance(value, tuple | Mapping):
            yield from _ids(cast("Iterable[object]", value))
        elif isinstance(value, TensorId):
            yield value


def _shown(default: object) -> object:
    return default.name if isinstance(default, DType) else default
