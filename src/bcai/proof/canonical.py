"""Reading canonical bytes: what was read is written again, and bytes that differ are refused."""

from collections.abc import Callable
from typing import Any, TypeVar

from bcai.base.errors import FormatError, InputError
from bcai.base.units import format_size
from bcai.vm.program import cbor

T = TypeVar("T")


def decode_canonical(
    data: bytes,
    magic: bytes,
    what: str,
    bytes_max: int,
    build: Callable[[Any], T],
    encode: Callable[[T], bytes],
) -> T:
    """Read `magic` and one value of canonical CBOR, and build a thing from it.

    Raises
    ------
    FormatError
        The bytes are not the one encoding of such a thing.
    """
    if not data.startswith(magic):
        raise FormatError(f"byte 0: not a {what}, which starts with {magic!r}")
    if len(data) > bytes_max:
        raise FormatError(f"{len(data)} bytes; a {what} has at most {format_size(bytes_max)}")
    fields = cbor.decode(data[len(magic) :])
    try:
        thing = build(fields)
        again = encode(thing)
    except FormatError as error:
        raise FormatError(f"{what}: {error}") from error
    except (InputError, TypeError, ValueError, AttributeError, LookupError) as error:
        raise FormatError(f"not a {what}: {error}") from error
    if again != data:
        raise FormatError(f"not the canonical encoding of its {what}")
    return thing


def check_hash(name: str, value: bytes) -> None:
    """32 bytes. Raises InputError."""
    if type(value) is not bytes or len(value) != 32:
        raise InputError(f"{name}: found {value!r}, expected 32 bytes")


def check_text(name: str, value: str) -> None:
    """Text. Raises InputError."""
    if type(value) is not str:
        raise InputError(f"{name}: found {value!r}, expected text")


def check_range(name: str, value: int, low: int, high: int) -> None:
    """A whole number of a range. Raises InputError."""
    if type(value) is not int or not low <= value <= high:
        raise InputError(f"{name}: found {value!r}, expected a whole number from {low} to {high}")
