"""Checks a safetensors file that a stranger made, down to every byte range, without NumPy.

The parts must follow each other without gap or overlap and fill the file exactly, and each must be
as long as its type and shape say. Source: https://github.com/huggingface/safetensors#format
"""

import math
import os
from collections.abc import Callable
from typing import cast

from bcai.base.errors import FormatError
from bcai.bridge.limits import DIMENSIONS_MAX, HEADER_BYTES_MAX, TENSORS_MAX
from bcai.bridge.sandbox.messages import parse_object, whole_number

_LENGTH_BYTES = 8
_ITEM_BYTES = {
    "BOOL": 1, "I8": 1, "U8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2,
    "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
_NAMES = {
    "BOOL": "bool", "I8": "int8", "U8": "uint8", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "I16": "int16", "U16": "uint16", "F16": "float16",
    "BF16": "bfloat16", "I32": "int32", "U32": "uint32", "F32": "float32", "I64": "int64",
    "U64": "uint64", "F64": "float64",
}  # fmt: skip
_LENGTH_MAX = 1 << 50
_TENSOR_NAME_MAX = 1000
_FIELDS = {"dtype", "shape", "data_offsets"}
# Signs of JSON in a header: parsed, a value of two bytes takes eighty. Without this, a header of
# the allowed length could take a gigabyte of ours.
_SIGNS = (b"{", b"[", b":", b",")
_SIGNS_MAX = 24 * TENSORS_MAX

Shape = tuple[int, ...]


def check_safetensors(content: bytes) -> dict[str, tuple[str, Shape]]:
    """Return the type and shape of each tensor.

    Raises
    ------
    FormatError
        The file is not exactly a safetensors file.
    """
    return _check(content[:_LENGTH_BYTES], len(content), lambda length: _slice(content, length))


def check_header(file: int) -> dict[str, tuple[str, Shape]]:
    """Check an open file in the same way; only its header is read.

    Raises
    ------
    FormatError
        The file is not exactly a safetensors file.
    """
    size = os.fstat(file).st_size
    head = os.pread(file, _LENGTH_BYTES, 0)
    return _check(head, size, lambda length: os.pread(file, length, _LENGTH_BYTES))


def _slice(content: bytes, length: int) -> bytes:
    return content[_LENGTH_BYTES : _LENGTH_BYTES + length]


def _check(head: bytes, size: int, read: Callable[[int], bytes]) -> dict[str, tuple[str, Shape]]:
    length = int.from_bytes(head, "little")
    if size < _LENGTH_BYTES or length > min(HEADER_BYTES_MAX, size - _LENGTH_BYTES):
        raise FormatError("the header of the tensors is cut off or too long")
    text = read(length)
    if sum(map(text.count, _SIGNS)) > _SIGNS_MAX:
        raise FormatError("the header of the tensors holds too many values")
    header = _parse(text)
    if len(header) > TENSORS_MAX:
        raise FormatError(f"found {len(header)} tensors, expected at most {TENSORS_MAX}")
    parts = {name: _part(name, fields) for name, fields in header.items()}
    end = 0
    for _, _, begin, part_end in sorted(parts.values(), key=lambda part: (part[2], part[3])):
        if begin != end:
            raise FormatError("the tensors overlap or leave a gap")
        end = part_end
    if end != size - _LENGTH_BYTES - length:
        raise FormatError("the tensors do not fill their file exactly")
    return {name: (_NAMES[part[0]], part[1]) for name, part in parts.items()}


def _parse(text: bytes) -> dict[str, object]:
    """The header, without the remarks that a writer may leave in it."""
    header = parse_object(text, _once)
    remarks = header.pop("__metadata__", {})
    if not isinstance(remarks, dict):
        raise FormatError("the remarks of the tensors are no table")
    return header


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A table of JSON. Of two entries of one name, readers differ in which they take."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _part(name: str, fields: object) -> tuple[str, Shape, int, int]:
    if not isinstance(fields, dict) or len(name) > _TENSOR_NAME_MAX:
        raise FormatError("a tensor is not described as expected")
    described = cast("dict[str, object]", fields)
    if described.keys() != _FIELDS:
        raise FormatError("a tensor is not described as expected")
    dtype, shape, offsets = (described.get(key) for key in ("dtype", "shape", "data_offsets"))
    known = isinstance(dtype, str) and dtype in _ITEM_BYTES
    if not known or not isinstance(shape, list) or not isinstance(offsets, list):
        raise FormatError("a tensor is not described as expected")
    lengths = tuple(whole_number(item, _LENGTH_MAX) for item in cast("list[object]", shape))
    places = [whole_number(item, _LENGTH_MAX) for item in cast("list[object]", offsets)]
    if len(lengths) > DIMENSIONS_MAX or len(places) != 2:
        raise FormatError("a tensor is not described as expected")
    begin, end = places
    if end - begin != math.prod(lengths) * _ITEM_BYTES[str(dtype)]:
        raise FormatError("a tensor is longer or shorter than its shape says")
    return str(dtype), lengths, begin, end
