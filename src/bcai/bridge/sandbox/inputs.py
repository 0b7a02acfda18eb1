"""The file in memory that a job reads its tensors from: safetensors, sealed before the job starts.

Nobody can write to it, grow it or shrink it then, neither the host nor the job; so the job may map
it, and many jobs may read one file. Every function here that returns a descriptor gives it away:
the caller closes it.
"""

import fcntl
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from bcai.base.errors import FormatError
from bcai.base.units import format_size
from bcai.bridge.sandbox.safetensors_check import check_header
from bcai.bridge.tensor_file import TensorFile, write_all

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_COPY_BYTES = 1 << 30


@contextmanager
def sealed_tensors(tensors: Mapping[str, object]) -> Generator[int]:
    """Write tensors to a sealed file; its descriptor, until the block is left.

    Raises
    ------
    FormatError
        A tensor has a type or layout that the format does not know.
    """
    content = TensorFile(dict(tensors))
    file = _new_file()
    try:
        content.write(file, 0)
        seal(file)
        yield file
    finally:
        os.close(file)


def sealed_file(content: bytes) -> int:
    """Write bytes to a sealed file."""
    file = _new_file()
    try:
        write_all(file, content, 0)
        seal(file)
    except BaseException:
        os.close(file)
        raise
    return file


@contextmanager
def sealed_copy(path: str, bytes_max: int) -> Generator[int]:
    """Copy a safetensors file that a client sent into a sealed one, and check it there.

    Raises
    ------
    FormatError
        It is no safetensors file, or has more than `bytes_max` bytes.
    """
    file = _new_file()
    try:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check_size(os.fstat(source).st_size, bytes_max)
            while os.sendfile(file, source, None, _COPY_BYTES):
                pass
        finally:
            os.close(source)
        take_sealed(file, bytes_max)
        yield file
    finally:
        os.close(file)


def take_sealed(file: int, bytes_max: int) -> None:
    """Seal a file that another process made, then check it: it stays what was checked.

    Raises
    ------
    FormatError
        It is no safetensors file, has more than `bytes_max` bytes, or cannot be sealed: it is no
        memory file, or somebody has it mapped to write.
    """
    try:
        seal(file)
    except OSError as error:
        raise FormatError(f"the tensors cannot be sealed: {error.strerror}") from error
    _check_size(os.fstat(file).st_size, bytes_max)
    check_header(file)


def seal(file: int) -> None:
    """Let nobody change the file from now on. Raises OSError."""
    if fcntl.fcntl(file, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)


def no_inputs() -> int:
    """An empty sealed file, for a job that is given no tensors."""
    file = _new_file()
    seal(file)
    return file


def _new_file() -> int:
    return os.memfd_create("bcai-inputs", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def _check_size(size: int, bytes_max: int) -> None:
    if size > bytes_max:
        found, most = format_size(size), format_size(bytes_max)
        raise FormatError(f"the input tensors have {found}, the job's limit of memory is {most}")
