"""Parses what comes out of a jail on the control channel. Every byte of it may be hostile.

A message is one datagram of JSON. Anything that is not exactly as expected is a FormatError; the
caller drops it and goes on.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, cast

from bcai.base.errors import FormatError
from bcai.base.values import decode_value, encode_value
from bcai.bridge.limits import MESSAGE_BYTES_MAX
from bcai.bridge.report import check_output_name
from bcai.bridge.sandbox.jail import Cause, Metric, Progress

_METRICS_MAX = 200  # values in one point
_METRIC_NAME_MAX = 100
_TEXT_MAX = 5000
_STEP_MAX = 1 << 62
_KINDS = ("value", "array", "state_dict", "file")
# How a script may say that it ended; everything else is for the host to decide.
_END_CAUSES = frozenset(
    {
        Cause.EXITED,
        Cause.EXCEPTION,
        Cause.SYNTAX_ERROR,
        Cause.MISSING_IMPORT,
        Cause.MEMORY,
        Cause.DISK_BYTES,
        Cause.PROCESSES,
        Cause.FILE_BYTES,
        Cause.INODES,
    }
)


@dataclass(frozen=True, slots=True)
class Announced:
    """A result lies in the output file, or, if it is small, in the message itself."""

    name: str
    kind: str
    offset: int = 0
    size: int = 0
    inline: tuple[object, ...] = ()  # the value, if it came along


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A result is about to be replaced."""

    name: str


@dataclass(frozen=True, slots=True)
class Warned:
    """A sentence for the user."""

    message: str


@dataclass(frozen=True, slots=True)
class TooLarge:
    """A result that the user named is over the limit."""

    message: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How the script ended, by its own account."""

    cause: Cause
    message: str
    hint: str
    line: int | None


@dataclass(frozen=True, slots=True)
class TrainingAsked:
    """The script asks for a training; its files came with the message (`trainer.py`)."""

    memory_bytes: int  # what the script has, by its own account


@dataclass(frozen=True, slots=True)
class CaptureAsked:
    """The script is about to start and asks for its end of the capture's channel."""


Message = (
    Metric
    | Progress
    | Announced
    | Forgotten
    | Warned
    | TooLarge
    | Ended
    | TrainingAsked
    | CaptureAsked
)


def parse_message(data: bytes) -> Message:
    """Parse one message.

    Raises
    ------
    FormatError
        It is not one of ours.
    """
    if len(data) > MESSAGE_BYTES_MAX:
        raise FormatError("a report from the job is too long")
    fields = parse_object(data)
    kind = fields.get("type")
    if kind == "metric":
        return Metric(_step(fields.get("step")), _metric_values(fields.get("values")))
    if kind == "progress":
        return Progress(min(1.0, max(0.0, _finite(fields.get("fraction")))))
    if kind == "output":
        return _announced(fields)
    if kind == "forget":
        return Forgotten(_name(fields))
    if kind == "warning":
        return Warned(_text(fields, "message"))
    if kind == "too_large":
        return TooLarge(_text(fields, "message"))
    if kind in ("train", "capture"):
        return _asked(fields)
    if kind == "end":
        return _ended(fields)
    raise FormatError("a report from the job has an unknown type")


def _asked(fields: dict[str, object]) -> TrainingAsked | CaptureAsked:
    if fields["type"] == "capture":
        return CaptureAsked()
    return TrainingAsked(whole_number(fields.get("memory_bytes"), 1 << 50))


Table = Callable[[list[tuple[str, object]]], object]
"""Makes a JSON object from its entries; refuses with a ValueError."""


def parse_json(data: bytes, table: Table | None = None) -> object:
    """Strict JSON: no NaN, no endless nesting.

    Raises
    ------
    FormatError
        It is something else.
    """
    try:
        found = json.loads(data, parse_constant=_refuse_constant, object_pairs_hook=table)
        return cast("object", found)
    except (ValueError, RecursionError) as error:
        raise FormatError("not strict JSON") from error


def parse_object(data: bytes, table: Table | None = None) -> dict[str, object]:
    """Strict JSON with an object at the top."""
    found = parse_json(data, table)
    if not isinstance(found, dict):
        raise FormatError("expected a JSON object")
    return cast("dict[str, object]", found)


def whole_number(value: object, most: int) -> int:
    """Return a number from 0 to `most`, and not a bool."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise FormatError(f"expected a whole number from 0 to {most}")
    return value


def plain_value(data: object) -> object:
    """Check that data of a job is an encoded plain value; return it in its one right form."""
    try:
        return encode_value(decode_value(data))
    except RecursionError as error:
        raise FormatError("nested too deep") from error


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(text)


def _step(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _STEP_MAX:
        raise FormatError("step: expected a whole number")
    return value


def _metric_values(value: object) -> dict[str, float]:
    if not isinstance(value, dict) or not 0 < len(cast("dict[str, object]", value)) <= _METRICS_MAX:
        raise FormatError(f"values: expected 1 to {_METRICS_MAX} numbers")
    numbers: dict[str, float] = {}
    for name, item in cast("dict[str, object]", value).items():
        if not name.isprintable() or not 0 < len(name) <= _METRIC_NAME_MAX:
            raise FormatError("values: a name is empty, too long or not printable")
        numbers[name] = _number(item)
    return numbers


def _number(value: object) -> float:
    found = decode_value(_shallow(value))
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise FormatError("expected a number")
    try:
        return float(found)
    except OverflowError as error:
        raise FormatError("expected a number of ordinary size") from error


def _shallow(value: object) -> object:
    """Let nothing through that is nested: a mark such as `{"$number": "nan"}` is not."""
    items = [value]
    if isinstance(value, dict):
        items = list(cast("dict[str, object]", value).values())
    is_nested = any(isinstance(item, dict | list) for item in items)
    return None if is_nested else cast("object", value)


def _finite(value: object) -> float:
    number = _number(value)
    if number != number:
        raise FormatError("expected a number, found nan")
    return number


def _text(fields: dict[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        raise FormatError(f"{name}: expected at most {_TEXT_MAX} characters of text")
    return value


def _name(fields: dict[str, object]) -> str:
    try:
        return check_output_name(fields.get("name"))
    except (TypeError, ValueError) as error:
        raise FormatError("name: not the name of an output") from error


def _announced(fields: dict[str, object]) -> Announced:
    name, kind = _name(fields), fields.get("kind")
    if kind not in _KINDS:
        raise FormatError("kind: not a kind of output")
    if "value" in fields:
        inline = fields["value"]
        if (
            kind != "value"
            or not isinstance(inline, list)
            or len(cast("list[object]", inline)) != 1
        ):
            raise FormatError("value: expected one plain value")
        return Announced(name, kind, inline=(plain_value(cast("list[object]", inline)[0]),))
    offset = whole_number(fields.get("offset"), 1 << 50)
    size = whole_number(fields.get("size"), 1 << 50)
    return Announced(name, str(kind), offset, size)


def _ended(fields: dict[str, object]) -> Ended:
    cause = fields.get("cause")
    if not isinstance(cause, str) or cause not in _END_CAUSES:
        raise FormatError("cause: not one that a job may give")
    line = fields.get("line")
    return Ended(
        Cause(cause),
        _text(fields, "message"),
        _text(fields, "hint"),
        None if line is None else whole_number(line, 1 << 31),
    )
