"""Writes tensors as a safetensors file, one after the other, without a second copy of them all.

The format is a length, a JSON header and the raw bytes. It is written here rather than by the
safetensors library because that needs the whole file in memory, within the job's own limit.
Source: https://huggingface.co/docs/safetensors (format), checked against the library in the tests.
"""

import ctypes
import errno
import json
import mmap
import os
import sys
from itertools import accumulate, pairwise
from typing import Any, cast

from bcai.base.errors import FormatError

# As NumPy (with ml_dtypes) and torch call them.
_NAMES = {
    "bool": "BOOL", "int8": "I8", "uint8": "U8", "int16": "I16", "uint16": "U16",
    "int32": "I32", "uint32": "U32", "int64": "I64", "uint64": "U64",
    "float16": "F16", "float32": "F32", "float64": "F64",
    "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip
_ALIGNMENT = 8
_CHUNK_BYTES = 1 << 24


def is_tensor(value: object) -> bool:
    """Whether this is a torch tensor."""
    torch = cast("Any", sys.modules.get("torch"))
    return hasattr(torch, "Tensor") and isinstance(value, torch.Tensor)


def is_array(value: object) -> bool:
    """Whether this is a NumPy array."""
    numpy = cast("Any", sys.modules.get("numpy"))
    return hasattr(numpy, "ndarray") and isinstance(value, numpy.ndarray)


def is_module(value: object) -> bool:
    """Whether this is a torch module."""
    modules = cast("Any", sys.modules.get("torch.nn"))
    return hasattr(modules, "Module") and isinstance(value, modules.Module)


def unfit(tensor: object) -> str:
    """Why this cannot be written, such as `is a str, expected ...`; empty if it can."""
    if not is_array(tensor) and not is_tensor(tensor):
        return f"is a {type(tensor).__name__}, expected an array or a tensor"
    found = cast("Any", tensor)
    if is_tensor(found) and (
        str(found.layout) != "torch.strided" or found.is_quantized or found.device.type == "meta"
    ):
        return f"is a {found.layout} tensor on {found.device}; make it dense"
    dtype = _dtype_name(found)
    return "" if dtype in _NAMES else f"has the type {dtype}; expected one of {', '.join(_NAMES)}"


class TensorFile:
    """A safetensors file that is about to be written; its header lists the tensors as given.

    Attributes
    ----------
    size
        Its bytes, known before any of them is made.

    Raises
    ------
    FormatError
        A tensor has a type or layout that the format does not know.
    """

    def __init__(self, tensors: dict[str, object]) -> None:
        for name, tensor in tensors.items():
            if wrong := unfit(tensor):
                raise FormatError(f"{name!r} {wrong}")
        dense = {name: _dense(tensor) for name, tensor in tensors.items()}
        # Larger elements first: then every tensor is aligned to its element size.
        order = sorted(dense, key=lambda name: -dense[name].itemsize)
        self._tensors = [dense[name] for name in order]
        ends = list(accumulate(int(tensor.nbytes) for tensor in self._tensors))
        places = dict(zip(order, pairwise([0, *ends]), strict=True))
        header = {
            name: {
                "dtype": _NAMES[_dtype_name(tensor)],
                "shape": [int(length) for length in tensor.shape],
                "data_offsets": places[name],
            }
            for name, tensor in dense.items()
        }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
        self._head = len(text).to_bytes(8, "little") + text
        self.size = len(self._head) + (ends[-1] if ends else 0)

    def content(self) -> bytes:
        """Return it whole."""
        file = os.memfd_create("tensors", os.MFD_CLOEXEC)
        try:
            self.write(file, 0)
            with mmap.mmap(file, self.size, access=mmap.ACCESS_READ) as whole:
                return whole[:]
        finally:
            os.close(file)

    def write(self, file: int, offset: int) -> None:
        """Write it into an open file."""
        write_all(file, memoryview(self._head), offset)
        offset += len(self._head)
        for tensor in self._tensors:
            offset = _write_tensor(file, tensor, offset)


def _dense(tensor: object) -> Any:
    """The tensor as one block of numbers; nothing is copied yet."""
    return tensor if is_array(tensor) else cast("Any", tensor).detach()


def _dtype_name(tensor: Any) -> str:
    """As NumPy calls it."""
    return tensor.dtype.name if is_array(tensor) else str(tensor.dtype).removeprefix("torch.")


def _write_tensor(file: int, tensor: Any, offset: int) -> int:
    size = int(tensor.nbytes)
    if not size:
        return offset
    if is_array(tensor):
        numpy = cast("Any", sys.modules["numpy"])
        whole = numpy.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<"))
        address = whole.ctypes.data
    else:
        whole = tensor.cpu().resolve_conj().resolve_neg().contiguous()
        address = whole.data_ptr()
    block = (ctypes.c_char * size).from_address(address)
    write_all(file, memoryview(block).cast("B"), offset)
    del whole  # alive until here: the block points into it
    return offset + size


def write_all(file: int, data: "bytes | memoryview[int]", offset: int) -> None:
    """Write all of `data` into an open file, at an offset.

    Beyond the limit of one file's size (RLIMIT_FSIZE) it goes on through a map, which knows none:
    that limit is for the files of a job, not for the memory file that its results leave in.
    """
    view = memoryview(data)
    while view:
        try:
            written = os.pwrite(file, view[:_CHUNK_BYTES], offset)
        except OSError as error:
            if error.errno != errno.EFBIG:
                raise
            written = _write_by_map(file, view[:_CHUNK_BYTES], offset)
        view = view[written:]
        offset += written


def _write_by_map(file: int, view: "memoryview[int]", offset: int) -> int:
    ahead = offset % mmap.ALLOCATIONGRANULARITY
    with mmap.mmap(file, ahead + len(view), offset=offset - ahead) as window:
        window[ahead:] = view
    return len(view)
