"""Canonical CBOR: the subset that programs use, with exactly one encoding for each value.

Integers, byte and text strings, arrays, float64, true, false and null; lengths are definite and
minimal. Maps are not used: what has names is an array in the schema's order.

Source: RFC 8949, section 4.2.1 (core deterministic encoding); floats are always 8 bytes.
"""

import struct
from collections.abc import Sequence
from typing import Any

from bcai.base.errors import FormatError

DEPTH_MAX = 16
ITEMS_MAX = 1 << 21
"""Items of all arrays together: a byte of input can become 64 bytes of objects."""
NAN = struct.pack(">Q", 0x7FF8000000000000)

_FALSE, _TRUE, _NULL, _FLOAT64 = 0xF4, 0xF5, 0xF6, 0xFB
_ARGUMENT = {24: 1, 25: 2, 26: 4, 27: 8}


def encode(value: object) -> bytes:
    """Encode None, bool, int (64 bits), float, bytes, str, and lists or tuples of them."""
    out = bytearray()
    _write(out, value)
    return bytes(out)


def array(items: Sequence[bytes]) -> bytes:
    """Encoding of an array, from the encodings of its items."""
    out = bytearray()
    _head(out, 0x80, len(items))
    return bytes(out) + b"".join(items)


def _write(out: bytearray, value: Any) -> None:
    kind: Any = value.__class__
    if kind is int:
        _head(out, 0x00, value) if value >= 0 else _head(out, 0x20, -1 - value)
    elif kind is list or kind is tuple:
        _head(out, 0x80, len(value))
        for item in value:
            _write(out, item)
    elif kind is str:
        data = value.encode("utf-8")
        _head(out, 0x60, len(data))
        out += data
    elif kind is float:
        out.append(_FLOAT64)
        out += NAN if value != value else struct.pack(">d", value)
    elif kind is bytes:
        _head(out, 0x40, len(value))
        out += value
    elif value is None:
        out.append(_NULL)
    elif kind is bool:
        out.append(_TRUE if value else _FALSE)
    else:
        raise TypeError(f"no canonical encoding of {kind.__name__}")


def _head(out: bytearray, major: int, argument: int) -> None:
    if argument < 24:
        out.append(major | argument)
    elif argument < 0x100:
        out += bytes((major | 24, argument))
    elif argument < 0x10000:
        out.append(major | 25)
        out += argument.to_bytes(2, "big")
    elif argument < 0x100000000:
        out.append(major | 26)
        out += argument.to_bytes(4, "big")
    elif argument < 1 << 64:
        out.append(major | 27)
        out += argument.to_bytes(8, "big")
    else:
        raise TypeError(f"integer {argument} is over 64 bits")


def decode(data: bytes) -> Any:
    """Decode one value that fills all of `data`.

    Raises
    ------
    FormatError
        It is anything but the one encoding of a value of the subset, or has over `ITEMS_MAX` items.
    """
    value, end = _read(data, 0, 0, [ITEMS_MAX])
    if end != len(data):
        raise FormatError(f"byte {end}: {len(data) - end} bytes too many")
    return value


def read(data: bytes, at: int) -> tuple[Any, int]:
    """Decode the value that starts at a byte; return it and where it ends. Raises FormatError."""
    return _read(data, at, 0, [ITEMS_MAX])


def read_array(data: bytes, at: int, what: str) -> tuple[int, int]:
    """Number of items of the array that starts at a byte, and where they start.

    Raises
    ------
    FormatError
        There is no array, or it says that it is longer than the bytes are.
    """
    if at >= len(data) or data[at] & 0xE0 != 0x80:
        found, _ = read(data, at)
        raise FormatError(f"{what}: found {type(found).__name__}, expected an array")
    count, start = _read_argument(data, at, data[at] & 0x1F)
    if count > len(data) - start:
        raise FormatError(f"byte {at}: array of {count} items in {len(data) - start} bytes")
    return count, start


def _read(data: bytes, at: int, depth: int, left: list[int]) -> tuple[Any, int]:
    """Read one value; `left[0]` items may still come."""
    if depth > DEPTH_MAX:
        raise FormatError(f"byte {at}: nested deeper than {DEPTH_MAX}")
    if at >= len(data):
        raise FormatError(f"byte {at}: ends too early")
    initial = data[at]
    major = initial & 0xE0
    if major == 0xE0:
        return _read_simple(data, at, initial)
    argument, start = _read_argument(data, at, initial & 0x1F)
    if major == 0x00:
        return argument, start
    if major == 0x20:
        return -1 - argument, start
    if major == 0x80:
        return _read_items(data, at, argument, start, depth, left)
    if major in (0x40, 0x60):
        return _read_string(data, at, major, argument, start)
    raise FormatError(f"byte {at}: major type {major >> 5} is not used")


def _read_items(
    data: bytes, at: int, count: int, start: int, depth: int, left: list[int]
) -> tuple[list[Any], int]:
    if count > len(data) - start:
        raise FormatError(f"byte {at}: array of {count} items in {len(data) - start} bytes")
    left[0] -= count
    if left[0] < 0:
        raise FormatError(f"byte {at}: over {ITEMS_MAX} items")
    items: list[Any] = []
    for _ in range(count):
        item, start = _read(data, start, depth + 1, left)
        items.append(item)
    return items, start


def _read_argument(data: bytes, at: int, low: int) -> tuple[int, int]:
    if low < 24:
        return low, at + 1
    size = _ARGUMENT.get(low)
    if size is None or at + 1 + size > len(data):
        raise FormatError(f"byte {at}: a length that is indefinite, reserved or cut off")
    argument = int.from_bytes(data[at + 1 : at + 1 + size], "big")
    if argument < (24 if size == 1 else 1 << (4 * size)):
        raise FormatError(f"byte {at}: {argument} is not in its shortest form")
    return argument, at + 1 + size


def _read_string(
    data: bytes, at: int, major: int, argument: int, start: int
) -> tuple[bytes | str, int]:
    end = start + argument
    if end > len(data):
        raise FormatError(f"byte {at}: a string of {argument} bytes is cut off")
    if major == 0x40:
        return data[start:end], end
    try:
        return data[start:end].decode("utf-8"), end
    except UnicodeDecodeError as error:
        raise FormatError(f"byte {start + error.start}: text is not UTF-8") from error


def _read_simple(data: bytes, at: int, initial: int) -> tuple[Any, int]:
    if initial == _FLOAT64:
        raw = data[at + 1 : at + 9]
        if len(raw) < 8:
            raise FormatError(f"byte {at}: a float is cut off")
        (value,) = struct.unpack(">d", raw)
        if value != value and raw != NAN:
            raise FormatError(f"byte {at}: not the canonical not-a-number")
        return value, at + 9
    if initial in (_FALSE, _TRUE, _NULL):
        return {_FALSE: False, _TRUE: True, _NULL: None}[initial], at + 1
    raise FormatError(f"byte {at}: simple value {initial:#04x} is not used")
