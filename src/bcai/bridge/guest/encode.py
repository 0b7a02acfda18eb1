"""Turns a Python value into an output: plain data, tensors as safetensors, or bytes.

Never imports NumPy or torch: a value can only be of theirs if the script has imported them.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any, cast

from bcai.base.errors import FormatError
from bcai.base.values import DEPTH_MAX, encode_value
from bcai.bridge.limits import MESSAGE_BYTES_MAX, VALUE_BYTES_MAX
from bcai.bridge.tensor_file import TensorFile, is_array, is_module, is_tensor, unfit, write_all

_CHUNK_BYTES = 1 << 20
_INLINE_BYTES_MAX = MESSAGE_BYTES_MAX // 2  # room for the name and the rest of the message


class NotKept(Exception):  # noqa: N818 - not an error of itself: the caller decides
    """A value that cannot become an output."""

    def __init__(self, message: str, *, too_large: bool = False, silent: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large
        self.silent = silent  # a kind of value that is simply no output, such as a DataFrame

    @staticmethod
    def over(size: int, limit: int) -> "NotKept":
        """The value has `size` bytes and does not fit."""
        text = f"{size} bytes, but all outputs together may have {limit} (limits.output)"
        return NotKept(text, too_large=True)


class Encoded:
    """An output that is ready to be written.

    Attributes
    ----------
    inline
        The plain data itself, if it is small; else `write` puts the bytes into a file.
    """

    def __init__(
        self,
        kind: str,
        size: int,
        write: Callable[[int, int], None],
        inline: object = None,
    ) -> None:
        self.kind = kind
        self.size = size
        self.write = write
        self.inline = inline


def encode_output(value: object) -> Encoded:
    """Encode a value that the user named.

    Raises
    ------
    NotKept
        It is of another kind, or too large for its kind.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return _encode_bytes(bytes(cast("bytes", value)))
    programs = cast("Any", sys.modules.get("bcai.vm.program.program"))
    if hasattr(programs, "VerifiedProgram") and isinstance(value, programs.VerifiedProgram):
        from bcai.vm.program.codec import encode_program

        return _encode_bytes(encode_program(cast("Any", value).program))
    paths = cast("Any", sys.modules.get("pathlib"))  # imported if the script has one
    if paths is not None and isinstance(value, paths.PurePath):
        return _encode_file(str(value))
    return encode_variable(value)


def encode_variable(value: object) -> Encoded:
    """Encode a value that a script left in a variable.

    Raises
    ------
    NotKept
        It is of another kind, or too large for its kind.
    """
    if is_module(value):
        return _encode_tensors("state_dict", _tensors_of(cast("Any", value).state_dict()))
    fit = cast("Any", sys.modules.get("bcai.sdk.fit"))
    if hasattr(fit, "Trained") and isinstance(value, fit.Trained):
        return _encode_tensors("state_dict", dict(cast("Any", value).parameters))
    if (is_tensor(value) or is_array(value)) and cast("Any", value).ndim:
        if wrong := unfit(value):
            raise NotKept(f"it {wrong}")  # whoever tells of it knows its name
        return _encode_tensors("array", {"value": value})
    if isinstance(value, dict) and value:
        entries = cast("dict[object, object]", value)
        if all(is_tensor(entry) for entry in entries.values()):
            return _encode_tensors("state_dict", _tensors_of(entries))
    return _encode_plain(cast("object", value))


def _encode_bytes(data: bytes) -> Encoded:
    return Encoded("file", len(data), lambda file, offset: write_all(file, data, offset))


def _encode_plain(value: object) -> Encoded:
    try:
        data = encode_value(_without_scalars(value))
        text = json.dumps(data, allow_nan=False).encode()
    except (FormatError, ValueError, RecursionError):
        raise NotKept(
            f"cannot keep a {type(value).__name__}; expected a number, a string, a list or dict of "
            "these, an array, a tensor, a module, a program, bytes or a pathlib.Path",
            silent=True,
        ) from None
    if len(text) > VALUE_BYTES_MAX:
        raise NotKept(
            f"{len(text)} bytes as plain data, expected at most {VALUE_BYTES_MAX}; keep it as an "
            "array, or as a file with bcai.output(name, data)",
            too_large=True,
        )
    if len(text) <= _INLINE_BYTES_MAX and data is not None:
        return Encoded("value", len(text), _write_nothing, inline=[data])
    return Encoded("value", len(text), lambda file, offset: write_all(file, text, offset))


def _write_nothing(file: int, offset: int) -> None:
    """Inline values need no place."""


def _without_scalars(value: object, depth: int = 0) -> object:
    """Replace 0-d tensors and NumPy scalars by Python numbers, tuples by lists."""
    if depth > DEPTH_MAX:
        raise FormatError(f"nested deeper than {DEPTH_MAX} levels")
    if isinstance(value, list | tuple):
        return [_without_scalars(item, depth + 1) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        pairs = cast("dict[object, object]", value)
        return {_key(key): _without_scalars(item, depth + 1) for key, item in pairs.items()}
    numpy = sys.modules.get("numpy")
    scalar = numpy is not None and isinstance(value, cast("Any", numpy).generic)
    if scalar or ((is_tensor(value) or is_array(value)) and cast("Any", value).ndim == 0):
        return cast("Any", value).item()
    return value


def _key(key: object) -> object:
    """Whole numbers are common as keys (`{0: 0.9}` per class); they become text, as in JSON."""
    return str(key) if isinstance(key, int) and not isinstance(key, bool) else key


def _tensors_of(entries: dict[object, object]) -> dict[str, object]:
    return {str(name): entry for name, entry in entries.items() if is_tensor(entry)}


def _encode_tensors(kind: str, tensors: dict[str, object]) -> Encoded:
    try:
        file = TensorFile(tensors)
    except FormatError as error:
        raise NotKept(str(error)) from None
    return Encoded(kind, file.size, file.write)


def _encode_file(path: str) -> Encoded:
    try:
        source = open(path, "rb")  # noqa: SIM115 - closed by `write`
    except OSError as error:
        raise NotKept(f"cannot read the file: {error}") from None
    size = os.fstat(source.fileno()).st_size

    def write(file: int, offset: int) -> None:
        with source:
            left = size
            while left and (chunk := source.read(min(left, _CHUNK_BYTES))):
                write_all(file, chunk, offset + size - left)
                left -= len(chunk)

    return Encoded("file", size, write)
