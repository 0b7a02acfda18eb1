"""The file in memory that a job writes its results into, and the checks when it is read.

The host makes it with a fixed size and seals that, so a job can neither grow nor shrink it. It
is read after every process of the job is gone, so nobody can change what was checked.
"""

import fcntl
import os

from bcai.base.errors import FormatError
from bcai.base.units import format_size
from bcai.bridge.limits import VALUE_BYTES_MAX
from bcai.bridge.sandbox.jail import JailOutput
from bcai.bridge.sandbox.messages import Announced, parse_json, plain_value
from bcai.bridge.sandbox.safetensors_check import check_safetensors

_HEADER_BYTES = 8
_ROOM_FACTOR = 2  # results that are replaced by larger ones leave gaps
OUTPUTS_MAX = 10_000
_READ_BYTES = 1 << 30  # what comes in one piece is not copied again


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
    parts: list[bytes] = []
    offset, left = announced.offset, announced.size
    while left:
        part = os.pread(file, min(left, _READ_BYTES), offset)
        if not part:
            raise FormatError("the output file is cut off")
        parts.append(part)
        offset, left = offset + len(part), left - len(part)
    return b"".join(parts)
