"""Safetensors bytes as NumPy arrays. Nothing is ever unpickled."""

from typing import TYPE_CHECKING, TypedDict, cast

from bcai.base.errors import FormatError
from bcai.bridge.tensor_views import headers_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]


class _Tensor(TypedDict):
    dtype: str
    shape: list[int]
    data: bytearray


_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "C64": "<c8", "BOOL": "?",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1",
}  # fmt: skip
_ML_DTYPES = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}


def read_arrays(content: bytes, name: str, *, widen: bool = True) -> "dict[str, Array]":
    """Decode a safetensors file, in the order of its header.

    `bfloat16`, which NumPy lacks, is widened to `float32` exactly.

    With `widen` false it stays what it is, an element type of ml_dtypes; so do the floats of 8 bits
    in any case: which NaN they hold is lost in a wider type.

    Raises
    ------
    FormatError
        The file is damaged, or holds a number format that NumPy cannot.
    """
    import numpy as np
    from safetensors import (
        SafetensorError,
        deserialize,  # pyright: ignore[reportUnknownVariableType]
    )

    try:
        tensors = dict(cast("list[tuple[str, _Tensor]]", deserialize(content)))  # in any order
    except SafetensorError as error:
        raise FormatError(f"output {name!r}: not a safetensors file: {error}") from error
    arrays: dict[str, Array] = {}
    for key in headers_of(content):
        tensor = tensors[key]
        if tensor["dtype"] in _ML_DTYPES:
            import ml_dtypes

            dtype = np.dtype(getattr(ml_dtypes, _ML_DTYPES[tensor["dtype"]]))
        elif tensor["dtype"] in _DTYPES:
            dtype = np.dtype(_DTYPES[tensor["dtype"]])
        else:
            raise FormatError(
                f"output {name!r}: NumPy has no {tensor['dtype']} ({key})",
                hint="result.save(folder) leaves it in a .safetensors file, which torch can open",
            )
        array = np.frombuffer(tensor["data"], dtype=dtype).reshape(tensor["shape"])
        if tensor["dtype"] == "BF16" and widen:
            array = array.astype(np.float32)
        arrays[key] = array
    return arrays
