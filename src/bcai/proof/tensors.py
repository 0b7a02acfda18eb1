"""Tensors of a safetensors file in memory, of every element type that a Program has."""

from typing import Any, cast

import ml_dtypes
import numpy as np
from safetensors import deserialize  # pyright: ignore[reportUnknownVariableType]

from bcai.base.errors import FormatError

_DTYPES = {
    "BOOL": np.bool_, "I8": np.int8, "U8": np.uint8, "I16": np.int16, "U16": np.uint16,
    "I32": np.int32, "U32": np.uint32, "I64": np.int64, "U64": np.uint64,
    "F16": np.float16, "BF16": ml_dtypes.bfloat16, "F32": np.float32, "F64": np.float64,
}  # fmt: skip


def load_tensors(content: bytes) -> dict[str, "np.ndarray[Any, Any]"]:
    """Tensors by name. `safetensors.numpy.load` does the same, but for bfloat16.

    Raises
    ------
    SafetensorError
        It is no such file.
    FormatError
        A tensor's element type is none that a Program has.
    """
    tensors = cast("list[tuple[str, dict[str, Any]]]", deserialize(content))
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, tensor in tensors:
        dtype = _DTYPES.get(tensor["dtype"])
        if dtype is None:
            known = ", ".join(_DTYPES)
            raise FormatError(f"tensor {name!r}: found {tensor['dtype']}, expected one of {known}")
        arrays[name] = np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])
    return arrays
