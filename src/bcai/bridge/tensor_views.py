"""Tensors of a safetensors file as NumPy arrays that lie in the file itself: nothing is copied.

The maps are private: whoever writes to an array gets a copy of the page that it writes to, and the
file stays as it is. The file comes from the other side and has been checked where that matters
(`sandbox/safetensors_check.py`): one that is laid out otherwise raises, and is never read beyond
its end.
"""

import json
import mmap
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bcai.vm.isa.types import Array

_LENGTH_BYTES = 8
_NUMPY = {
    "BOOL": "?", "I8": "i1", "U8": "u1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4",
    "I64": "<i8", "U64": "<u8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip
_ML_DTYPES = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}


def map_file(descriptor: int) -> mmap.mmap | bytes:
    """Map a whole file; its pages are read when they are touched."""
    size = os.fstat(descriptor).st_size
    return mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY) if size else b""


def headers_of(content: mmap.mmap | bytes) -> dict[str, Any]:
    """Type, shape and place of each tensor, as the file says; none for an empty file."""
    if not content:
        return {}
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    return {
        name: {**fields, "start": end + fields["data_offsets"][0]}
        for name, fields in json.loads(content[_LENGTH_BYTES:end]).items()
        if name != "__metadata__"
    }


def array_at(content: mmap.mmap | bytes, fields: Mapping[str, Any]) -> "Array":
    """One tensor of `headers_of`. Imports NumPy, and ml_dtypes for what NumPy has no name for.

    Raises
    ------
    ImportError
        One of them is not installed here.
    """
    import numpy as np

    kind = fields["dtype"]
    if kind in _NUMPY:
        dtype = np.dtype(_NUMPY[kind])
    else:
        import ml_dtypes

        dtype = np.dtype(getattr(ml_dtypes, _ML_DTYPES[kind]))
    shape = tuple(fields["shape"])
    if 0 in shape:
        return np.zeros(shape, dtype)  # a view of no bytes has no place
    count = 1
    for length in shape:
        count *= length
    array = np.frombuffer(content, dtype, count, fields["start"]).reshape(shape)
    return array if array.flags.aligned else array.copy()


def arrays_of(content: mmap.mmap | bytes) -> "dict[str, Array]":
    """Every tensor of a file, by name."""
    return {name: array_at(content, fields) for name, fields in headers_of(content).items()}
