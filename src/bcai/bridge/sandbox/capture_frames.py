"""Frames between a script whose operations are captured and the process that executes them.

A frame is a length of four bytes, lowest first, and as many bytes of canonical CBOR: an array that
starts with a `Kind`. `GIVE` is followed by the elements of its tensor, row-major, lowest byte
first. A reply starts with a `Reply`; a value's elements follow it. All that a script sends may be
hostile: what is not exactly as expected is a FormatError, and ends the capture.

    [0, program]                          the next program, numbered from 0
    [1, program number, [source, ...], [handle, ...]]   run it; its outputs are these values
    [2, handle, element type, [sizes], origin]          a value of the script's; elements follow
    [3, handle]                           answer with its elements
    [4, [handle, ...]]                    nobody can reach them any more
    [5, operation, place]                 the script's own torch executed it

A source is a handle, or a scalar's bytes. Handles count up from 1 and are never used twice.
"""

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, cast

from bcai.base.errors import FormatError
from bcai.vm.isa.types import ELEMENTS_MAX, RANK_MAX, DType, TensorType
from bcai.vm.program import cbor

FRAME_BYTES_MAX = 64 << 20
LENGTH_BYTES = 4
TEXT_MAX = 500
_SCALAR_BYTES_MAX = 8
_HANDLE_MAX = 1 << 48


class Kind(IntEnum):
    """What a script asks for."""

    DEFINE = 0
    RUN = 1
    GIVE = 2
    FETCH = 3
    FREE = 4
    UNMAPPED = 5


class Reply(IntEnum):
    """What it is told."""

    VALUE = 0
    FAILED = 1


@dataclass(frozen=True, slots=True)
class Define:
    """A program, not verified yet."""

    program: bytes


@dataclass(frozen=True, slots=True)
class Run:
    """A program is to run on these values and numbers."""

    program: int
    sources: tuple[int | bytes, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Give:
    """A value whose elements follow. `origin`: an operation that has no instruction, or empty."""

    handle: int
    type: TensorType
    origin: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """A value is to be sent."""

    handle: int


@dataclass(frozen=True, slots=True)
class Free:
    """Values that nobody can reach."""

    handles: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unmapped:
    """An operation that the script's own torch executed."""

    op: str
    place: str


Frame = Define | Run | Give | Fetch | Free | Unmapped


def frame_length(count: int) -> bytes:
    """The bytes in front of a frame of `count` bytes."""
    return count.to_bytes(LENGTH_BYTES, "little")


def parse_frame(data: bytes) -> Frame:
    """Read one frame. Raises FormatError."""
    fields = cbor.decode(data)
    if not isinstance(fields, list) or not fields:
        raise FormatError("expected an array")
    kind, *rest = cast("list[Any]", fields)
    reader = _READERS.get(kind) if type(kind) is int else None
    if reader is None:
        raise FormatError(f"kind: found {kind!r}, expected 0 to {max(Kind)}")
    found, count = reader
    if len(rest) != count:
        raise FormatError(f"kind {kind}: found {len(rest)} fields, expected {count}")
    return found(*rest)


def _define(program: Any) -> Define:
    if type(program) is not bytes:
        raise FormatError("program: expected bytes")
    return Define(program)


def _run(program: Any, sources: Any, outputs: Any) -> Run:
    found: list[int | bytes] = []
    for each in _list("sources", sources):
        if type(each) is bytes and 0 < len(each) <= _SCALAR_BYTES_MAX:
            found.append(each)
        else:
            found.append(_handle("source", each))
    handles = tuple(_handle("output", each) for each in _list("outputs", outputs))
    return Run(_number("program", program, 1 << 31), tuple(found), handles)


def _give(handle: Any, dtype: Any, shape: Any, origin: Any) -> Give:
    sizes = tuple(_number("size", each, ELEMENTS_MAX) for each in _list("sizes", shape))
    if len(sizes) > RANK_MAX or math.prod(max(each, 1) for each in sizes) > ELEMENTS_MAX:
        raise FormatError(
            f"sizes: expected at most {RANK_MAX}, of {ELEMENTS_MAX} elements together"
        )
    try:
        type_ = TensorType(DType(_number("element type", dtype, 255)), sizes)
    except ValueError:
        raise FormatError(f"element type: found {dtype!r}, which is none") from None
    return Give(_handle("handle", handle), type_, _text("origin", origin))


def _fetch(handle: Any) -> Fetch:
    return Fetch(_handle("handle", handle))


def _free(handles: Any) -> Free:
    return Free(tuple(_handle("handle", each) for each in _list("handles", handles)))


def _unmapped(op: Any, place: Any) -> Unmapped:
    return Unmapped(_text("operation", op), _text("place", place))


_READERS: dict[int, tuple[Any, int]] = {
    Kind.DEFINE: (_define, 1),
    Kind.RUN: (_run, 3),
    Kind.GIVE: (_give, 4),
    Kind.FETCH: (_fetch, 1),
    Kind.FREE: (_free, 1),
    Kind.UNMAPPED: (_unmapped, 2),
}


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise FormatError(f"{name}: found {type(value).__name__}, expected an array")
    return cast("list[Any]", value)


def _number(name: str, value: Any, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise FormatError(f"{name}: found {value!r}, expected a whole number from 0 to {most}")
    return value


def _handle(name: str, value: Any) -> int:
    if type(value) is not int or not 1 <= value <= _HANDLE_MAX:
        raise FormatError(f"{name}: found {value!r}, expected a value's number")
    return value


def _text(name: str, value: Any) -> str:
    if type(value) is not str or len(value) > TEXT_MAX or not value.isprintable():
        raise FormatError(f"{name}: expected at most {TEXT_MAX} printable characters")
    return value
