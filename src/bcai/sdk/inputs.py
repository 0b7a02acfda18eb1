"""Tensors that a job of Python is given: whatever holds numbers, as one safetensors file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bcai.base.errors import FormatError, InputError, TooLargeError
from bcai.base.units import format_size
from bcai.bridge.tensor_file import TensorFile, is_array, is_tensor
from bcai.jobs.spec import FILE_BYTES_MAX, INPUTS_NAME, Mount
from bcai.sdk.folder import LocalFile


def input_files(inputs: Mapping[str, Any] | None) -> list[LocalFile]:
    """The file that holds the tensors: NumPy arrays, torch tensors, and what has `__dlpack__`.

    Raises
    ------
    InputError
        Something is no tensor, or of a type that does not travel; the message names it.
    """
    if not inputs:
        return []
    tensors = {_name(name): _tensor(name, value) for name, value in inputs.items()}
    try:
        file = TensorFile(tensors)
    except FormatError as error:
        raise InputError(f"inputs: {error}") from error
    if file.size > FILE_BYTES_MAX:
        found, most = format_size(file.size), format_size(FILE_BYTES_MAX)
        raise TooLargeError(f"inputs: {found} together, expected at most {most}")
    path = Path(INPUTS_NAME)
    return [LocalFile(path, INPUTS_NAME, file.size, Mount.INPUT, file.content())]


def _name(name: object) -> str:
    if not isinstance(name, str) or not name.isprintable() or not name:
        raise InputError(f"inputs: found the name {name!r}, expected printable text")
    return name


def _tensor(name: str, value: Any) -> object:
    import numpy as np

    if is_tensor(value) or is_array(value):
        return value
    try:
        array = np.from_dlpack(value) if hasattr(value, "__dlpack__") else np.asarray(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise InputError(f"input {name!r}: {error}") from error
    if array.dtype.kind not in "biuf":
        kind = type(value).__name__
        raise InputError(f"input {name!r}: found {kind}, expected an array or tensor of numbers")
    return array
