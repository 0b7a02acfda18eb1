"""Making, copying and converting tensors."""

import numpy as np

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Call, Gradients, Types, case, instruction, types_of
from bcai.vm.isa.rules import UNARY
from bcai.vm.isa.types import ANY, Array, DType, TensorType


def _const(*, data: bytes, shape: tuple[int, ...], dtype: DType) -> Types:
    type_ = TensorType(dtype, shape)
    if len(data) != type_.nbytes:
        raise VerifyError(f"data has {len(data)} bytes, {type_} has {type_.nbytes}")
    return type_


@instruction(
    opcode=0x0001,
    dtypes=ANY,
    differentiable=False,
    types=types_of(
        _const,
        accepts=(case(data=bytes(8), shape=(2,), dtype=DType.float32),),
        rejects=(case(data=bytes(7), shape=(2,), dtype=DType.float32),),
    ),
)
def const(*, data: bytes, shape: tuple[int, ...], dtype: DType) -> Array:
    """A tensor that stands in the program: `data` holds its elements, little-endian, row-major."""
    return np.frombuffer(data, dtype.numpy.newbyteorder("<")).reshape(shape)


def _full(*, shape: tuple[int, ...], value: float, dtype: DType) -> Types:
    return TensorType(dtype, shape)


@instruction(
    opcode=0x0002,
    dtypes=ANY,
    differentiable=False,
    types=types_of(
        _full,
        accepts=(
            case(shape=(2, 3), value=1.5, dtype=DType.float32),
            case(shape=(), value=-0.0, dtype=DType.float32),
            case(shape=(0, 4), value=7.0, dtype=DType.int32),
        ),
        rejects=(case(shape=(-1,), value=1.0, dtype=DType.float32),),
    ),
)
def full(*, shape: tuple[int, ...], value: float, dtype: DType) -> Array:
    """A tensor filled with one number, rounded once to `dtype` (saturating for integers)."""
    return convert(np.full(shape, value, np.float64), dtype)


@instruction(opcode=0x0003, dtypes=ANY, types=UNARY)
def copy(x: Array) -> Array:
    """The same tensor in memory of its own."""
    return x.copy()


@copy.gradient
def _(call: Call) -> Gradients:
    return (call.d,)


@instruction(opcode=0x0006, dtypes=ANY, differentiable=False, types=UNARY)
def stop_gradient(x: Array) -> Array:
    """`x`, as a constant for gradients. Source: `torch.Tensor.detach`, JAX `stop_gradient`."""
    return x


def _cast(x: TensorType, *, dtype: DType) -> Types:
    return x.with_dtype(dtype)


@instruction(
    opcode=0x0004,
    dtypes=ANY,
    types=types_of(
        _cast,
        accepts=tuple(case("float32[2,3]", dtype=each) for each in DType),
        rejects=(case(dtype=DType.float32),),
    ),
)
def cast(x: Array, *, dtype: DType) -> Array:
    """The same values in another element type.

    To a float: rounded to nearest even. From a float to an integer: towards zero, saturating, with
    0 for not-a-number. Between integers: wrapping. To bool: whether it differs from 0.
    """
    return convert(x, dtype)


@cast.gradient
def _(call: Call) -> Gradients:
    return (call.d.cast(call[0].dtype) if call[0].dtype.is_float else None,)


def convert(x: Array, dtype: DType) -> Array:
    """`Cast`, in NumPy."""
    source, target = DType.of(x.dtype), dtype.numpy
    if source is dtype:
        return x
    if dtype is DType.bool:
        return x != 0
    if source.is_float and not dtype.is_float:
        limits = np.iinfo(target)
        wide = np.trunc(np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf))
        low, high = wide <= float(limits.min), wide >= float(limits.max)
        inside = np.where(low | high, 0.0, wide).astype(target)
        return np.where(low, limits.min, np.where(high, limits.max, inside)).astype(target)
    if dtype is DType.bfloat16 and source is DType.float64:
        return _round_once(x, target)
    return x.astype(target)


def _round_once(x: Array, target: np.dtype[np.generic]) -> Array:
    """float64 to bfloat16 in one rounding: to float32 to odd first, then to nearest."""
    near = x.astype(np.float32)
    bits = near.view(np.int32)
    inexact = (near.astype(np.float64) != x) & np.isfinite(near) & (bits & 1 == 0)
    beyond = np.abs(x) > np.abs(near)
    moved = np.where(beyond, bits + 1, bits - 1)
    return np.where(inexact, moved, bits).astype(np.int32).view(np.float32).astype(target)


OPS = (const, full, copy, stop_gradient, cast)
