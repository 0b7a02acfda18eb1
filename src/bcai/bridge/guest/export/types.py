"""Element types and shapes of torch, as those of the instruction set."""

from collections.abc import Sequence
from typing import Any, cast

import ml_dtypes
import numpy as np
import torch

from bcai.vm.isa.types import Array, DType, TensorType

Scalar = int | float | bool


class UnsupportedError(Exception):
    """The instruction set cannot say this; the message says why. Collected, never shown alone."""


DTYPES = {getattr(torch, each.name): each for each in DType}
TORCH = {ours: theirs for theirs, ours in DTYPES.items()}


def dtype_of(dtype: torch.dtype) -> DType:
    """Element type of the instruction set. Raises UnsupportedError."""
    if dtype not in DTYPES:
        raise UnsupportedError(f"{str(dtype).removeprefix('torch.')} tensors")
    return DTYPES[dtype]


def type_of(value: torch.Tensor) -> TensorType:
    """Type of a tensor whose sizes are all known. Raises UnsupportedError."""
    if value.layout is not torch.strided or value.is_quantized:
        raise UnsupportedError("sparse and quantised tensors")
    return TensorType(dtype_of(value.dtype), sizes_of(value.shape))


def sizes_of(sizes: Sequence[int | torch.SymInt]) -> tuple[int, ...]:
    """Sizes as plain integers. Raises UnsupportedError where one depends on data."""
    if any(not isinstance(each, int) for each in sizes):
        raise UnsupportedError("a shape that depends on data (all shapes are static)")
    return tuple(cast("Sequence[int]", sizes))


def to_array(tensor: torch.Tensor) -> Array:
    """The elements as a NumPy array of its own; bfloat16 through ml_dtypes."""
    plain = tensor.detach().to("cpu").contiguous()
    if plain.dtype is torch.bfloat16:
        bits = plain.view(torch.int16).numpy()
        return cast(Array, bits.view(ml_dtypes.bfloat16).copy())
    return cast("np.ndarray[Any, np.dtype[Any]]", plain.numpy().copy())
