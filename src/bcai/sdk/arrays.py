"""Safetensors bytes as NumPy arrays. Nothing is ever unpickled."""

from typing import TYPE_CHECKING, TypedDict, cast

from bcai.base.errors import FormatError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]


class _Tensor(TypedDict):
    dtype: str
    shape: list[int]
    data: bytearray


_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "C64": "<c8", "BOOL": "?",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1",
}  # fmt: skip


def read_arrays(content: bytes, name: str, *, widen: bool = True) -> "dict[str, Array]":
    """Decode a safetensors file; `bfloat16`, which NumPy lacks, is widened to `float32` exactly.

    With `widen` false it stays what it is, an element type of ml_dtypes.

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
        tensors = cast("list[tuple[str, _Tensor]]", deserialize(content))
    except SafetensorError as error:
        raise FormatError(f"output {name!r}: not a safetensors file: {error}") from error
    arrays: dict[str, Array] = {}
    for key, tensor in tensors:
        dtype = _DTYPES.get(tensor["dtype"])
        if dtype is None:
            raise FormatError(
                f"output {name!r}: NumPy has no {tensor['dtype']} ({key})",
                hint="save it with result.save(folder) and open it with safetensors and torch",
            )
        array = np.frombuffer(tensor["data"], dtype=dtype).reshape(tensor["shape"])
        if tensor["dtype"] == "BF16" and not widen:
            import ml_dtypes

            array = array.view(ml_dtypes.bfloat16)
        elif tensor["dtype"] == "BF16":
            array = (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
        arrays[key] = array
    return arrays
