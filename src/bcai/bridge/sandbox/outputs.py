"""The file in memory that a job writes its results into, and the checks when it is read.

The host makes it with a fixed size and seals that, so a job can neither grow nor shrink it. It
is read after every process of the job is gone, so nobody can change what was checked.
"""

import ctypes
import fcntl
import os
from concurrent.futures import ThreadPoolExecutor

from bcai.base.errors import FormatError
from bcai.base.units import format_size
from bcai.bridge.limits import VALUE_BYTES_MAX
from bcai.bridge.sandbox.jail import JailOutput
from bcai.bridge.sandbox.messages import Announced, parse_json, plain_value
from bcai.bridge.sandbox.safetensors_check import check_safetensors

_HEADER_BYTES = 8
_ROOM_FACTOR = 2  # results that are replaced by larger ones leave gaps
OUTPUTS_MAX = 10_000
_PART_BYTES = 1 << 23
_THREADS_MAX = 4


def new_output_file(output_bytes: int) -> int:
    """Make the file; return its descriptor. It takes no memory until it is written."""
    descriptor = os.memfd_create("bcai-outputs", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, _HEADER_BYTES + _ROOM_FACTOR * output_bytes)
    seals = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def read_output(file: int, announced: Announced) -> JailOutput:
    """Read and check one result.

    Raises
    ------
    FormatError
        The bytes are not what the job said they are.
    """
    name, kind = announced.name, announced.kind
    if announced.inline:
        return JailOutput(name, "value", value=announced.inline[0])
    if announced.offset + announced.size > os.fstat(file).st_size:
        raise FormatError("it lies outside of the output file")
    if kind == "value":
        if announced.size > VALUE_BYTES_MAX:
            raise FormatError(f"plain data of {announced.size} bytes")
        content = _read(file, announced)
        return JailOutput(name, "value", value=plain_value(parse_json(content)))
    content = _read(file, announced)
    if kind == "file":
        return JailOutput(name, "file", content=content, summary=format_size(len(content)))
    tensors = check_safetensors(content)
    if kind == "state_dict":
        return JailOutput(name, "state_dict", content=content, summary=_summary(len(tensors)))
    if tensors.keys() != {"value"}:
        raise FormatError("an array is one tensor named 'value'")
    dtype, shape = tensors["value"]
    return JailOutput(name, "array", content=content, summary=f"{dtype}{list(shape)}")


def _summary(count: int) -> str:
    return f"{count} tensor" if count == 1 else f"{count} tensors"


def _read(file: int, announced: Announced) -> bytes:
    """Copy a result out of the file, several parts at once.

    Most of the time goes into finding memory for the copy, page by page, which the kernel does for
    several threads at a time. The copy is what is checked and kept.
    """
    size = announced.size
    content = _new_bytes(None, size)
    with memoryview((ctypes.c_char * size).from_address(_address_of(content))).cast("B") as room:

        def fill(start: int) -> bool:
            part = room[start : start + _PART_BYTES]
            while part:
                count = os.preadv(file, [part], announced.offset + start)
                if not count:
                    return False
                part, start = part[count:], start + count
            return True

        parts = range(0, size, _PART_BYTES)
        if len(parts) < 2:
            is_whole = all(map(fill, parts))
        else:
            with ThreadPoolExecutor(min(_THREADS_MAX, os.cpu_count() or 1)) as threads:
                is_whole = all(threads.map(fill, parts))
    if not is_whole:
        raise FormatError("the output file is cut off")
    return content


# Bytes that are still to be filled in: nobody else has them yet, so this is no change of a value.
# Source: https://docs.python.org/3/c-api/bytes.html#c.PyBytes_FromStringAndSize
_new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytes.restype, _new_bytes.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_ssize_t)
_address_of = ctypes.pythonapi.PyBytes_AsString
_address_of.restype, _address_of.argtypes = ctypes.c_void_p, (ctypes.py_object,)
