"""The tensors that a job was given, read in place from the sealed file that the host left."""

import mmap
import os
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from bcai.bridge.tensor_file import is_array, is_tensor
from bcai.bridge.tensor_views import array_at, headers_of, map_file

_BFLOAT16 = "BF16"
_CHUNK_BYTES = 1 << 24


class Inputs(Mapping[str, Any]):
    """NumPy arrays by name. Nothing is mapped before it is asked for, and nothing is copied."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._is_empty = os.fstat(file).st_size == 0
        self._content: mmap.mmap | bytes = b""
        self._headers: dict[str, Any] | None = None
        self._arrays: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._arrays:
            self._arrays[name] = self._read(name)
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._open())

    def __len__(self) -> int:
        return len(self._open())

    def has_unchanged(self, value: Any) -> bool:
        """Whether this is one of them, whole and as it came: then it is no result of the script."""
        layout = _layout(value)
        for name, array in self._arrays.items():
            if layout is not None and layout.size and _layout(array) == layout:
                return self._is_unchanged(self._open()[name]["start"], layout.size)
        return False

    def _is_unchanged(self, start: int, size: int) -> bool:
        with memoryview(self._content) as ours:
            for offset in range(start, start + size, _CHUNK_BYTES):
                count = min(_CHUNK_BYTES, start + size - offset)
                if ours[offset : offset + count] != memoryview(os.pread(self._file, count, offset)):
                    return False
        return True

    def _open(self) -> dict[str, Any]:
        if self._headers is None:
            self._content = b"" if self._is_empty else map_file(self._file)
            self._headers = headers_of(self._content)
        return self._headers

    def _read(self, name: str) -> Any:
        fields = self._open()[name]
        if fields["dtype"] != _BFLOAT16:
            return array_at(self._content, fields)
        try:
            return array_at(self._content, fields).view(_bfloat16_array())
        except ImportError:  # no ml_dtypes in this environment: torch has the type by itself
            torch: Any = import_module("torch")
            bits = array_at(self._content, {**fields, "dtype": "I16"})
            return torch.from_numpy(bits).view(torch.bfloat16)


class _Layout(NamedTuple):
    """Where the elements of an array or tensor lie: a transposed one is another value."""

    address: int
    size: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _layout(value: Any) -> _Layout | None:
    if is_tensor(value) and value.device.type == "cpu":
        strides = tuple(each * value.itemsize for each in value.stride())
        return _Layout(value.data_ptr(), value.nbytes, tuple(value.shape), strides)
    if is_array(value):
        return _Layout(value.ctypes.data, value.nbytes, value.shape, value.strides)
    return None


@cache
def _bfloat16_array() -> Any:
    """A class of arrays that torch.from_dlpack takes; NumPy itself exports no such type."""
    import numpy as np

    class Bfloat16Array(np.ndarray[Any, Any]):
        """Numbers of the type bfloat16."""

        def __dlpack__(self, **options: Any) -> Any:
            torch: Any = import_module("torch")
            bits = torch.from_numpy(self.view(np.ndarray).view(np.int16))
            return bits.view(torch.bfloat16).__dlpack__(**options)

    return Bfloat16Array
