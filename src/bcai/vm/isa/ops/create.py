"""Tensors made from nothing but numbers, and masks by place."""

import numpy as np

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Call, Gradients, Types, case, instruction, types_of
from bcai.vm.isa.ops.activation import where
from bcai.vm.isa.ops.index import check_index_type
from bcai.vm.isa.ops.memory import convert
from bcai.vm.isa.rules import broadcast
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import ANY, INDICES, Array, DType, TensorType


def _arange(*, start: float, step: float, count: int, dtype: DType) -> Types:
    if dtype is DType.bool:
        raise VerifyError("a range of bool")
    del start, step
    return TensorType(dtype, (count,))


@instruction(
    opcode=0x0005,
    dtypes=ANY,
    differentiable=False,
    types=types_of(
        _arange,
        accepts=(
            case(start=0.0, step=1.0, count=5, dtype=DType.int64),
            case(start=1.5, step=-0.25, count=4, dtype=DType.float32),
            case(start=0.0, step=1.0, count=0, dtype=DType.int32),
        ),
        rejects=(
            case(start=0.0, step=1.0, count=-1, dtype=DType.int64),
            case(start=0.0, step=1.0, count=2, dtype=DType.bool),
        ),
    ),
)
def arange(*, start: float = 0.0, step: float = 1.0, count: int, dtype: DType) -> Array:
    """`start + i * step` for i from 0 to count - 1, in float64, converted as `Cast` does."""
    return convert(start + np.arange(count, dtype=np.float64) * step, dtype)


def _triangle(x: TensorType, *, diagonal: int) -> Types:
    del diagonal
    if x.rank < 2:
        raise VerifyError(f"{x}: expected at least two axes")
    return x


_TRIANGLE = types_of(
    _triangle,
    accepts=(
        case("float32[3,4]", diagonal=0),
        case("float32[2,3,3]", diagonal=-1),
        case("float32[2,0]", diagonal=2),
    ),
    rejects=(case("float32[3]", diagonal=0),),
)


@instruction(opcode=0x0430, dtypes=ANY, types=_TRIANGLE)
def tril(x: Array, *, diagonal: int = 0) -> Array:
    """`x` on and below a diagonal, 0 above it. Source: ONNX Trilu-14."""
    return np.tril(x, _within(x, diagonal))


@tril.gradient
def _(call: Call) -> Gradients:
    return (call.d.emit("Tril", diagonal=call.attributes["diagonal"]),)


@instruction(opcode=0x0431, dtypes=ANY, types=_TRIANGLE)
def triu(x: Array, *, diagonal: int = 0) -> Array:
    """`x` on and above a diagonal, 0 below it. Source: ONNX Trilu-14."""
    return np.triu(x, _within(x, diagonal))


@triu.gradient
def _(call: Call) -> Gradients:
    return (call.d.emit("Triu", diagonal=call.attributes["diagonal"]),)


def _within(x: Array, diagonal: int) -> int:
    """The same triangle with a diagonal that NumPy can hold."""
    return max(-x.shape[-2], min(diagonal, x.shape[-1]))


def _one_hot(indices: TensorType, *, depth: int, dtype: DType) -> Types:
    check_index_type(indices)
    return TensorType(dtype, (*indices.shape, depth))


@instruction(
    opcode=0x0432,
    dtypes=INDICES,
    differentiable=False,
    types=types_of(
        _one_hot,
        accepts=(
            case("int64[2,3]", depth=4, dtype=DType.float32),
            case("int32[]", depth=2, dtype=DType.int64),
            case("int64[0]", depth=1, dtype=DType.bool),
        ),
        rejects=(
            case("float32[2]", depth=4, dtype=DType.float32),
            case("int64[2]", depth=-1, dtype=DType.float32),
        ),
    ),
)
def one_hot(indices: Array, *, depth: int, dtype: DType) -> Array:
    """1 at the index, 0 elsewhere, along a new last axis; an index outside gives zeros only."""
    hit = indices[..., None] == np.arange(depth)
    return convert(hit.astype(np.int64), dtype)


def _masked_fill(x: TensorType, mask: TensorType, *, value: float) -> Types:
    del value
    if mask.dtype is not DType.bool or broadcast(x, mask.with_dtype(x.dtype)) != x.shape:
        raise VerifyError(f"mask is {mask}, expected bool that broadcasts to {x.shape}")
    return x


@instruction(
    opcode=0x0433,
    dtypes=ANY,
    types=types_of(
        _masked_fill,
        accepts=(
            case("float32[2,3]", "bool[3]", value=1.5),
            case("float32[2]", "bool[]", value=-1e30),
        ),
        rejects=(
            case("float32[3]", "bool[2,3]", value=0.0),
            case("float32[3]", "float32[3]", value=0.0),
        ),
    ),
)
def masked_fill(x: Array, mask: Array, *, value: float) -> Array:
    """`value`, converted as `Full` does, where the mask is true; `x` elsewhere."""
    return np.where(mask, convert(np.asarray(value, np.float64), DType.of(x.dtype)), x)


@masked_fill.lowering
def _(call: Call) -> Symbol:
    return where(call[1], call.attributes["value"], call[0])


OPS = (arange, tril, triu, one_hot, masked_fill)
