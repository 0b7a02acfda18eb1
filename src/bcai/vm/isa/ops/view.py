"""The same elements seen in another shape or order."""

import math

import numpy as np

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Call, Gradients, Types, case, instruction, types_of
from bcai.vm.isa.rules import check_axis
from bcai.vm.isa.types import ANY, Array, TensorType


def _reshape(x: TensorType, *, shape: tuple[int, ...]) -> Types:
    if min(shape, default=0) < 0 or math.prod(shape) != x.elements:
        raise VerifyError(f"{x} has {x.elements} elements, shape {shape} has {math.prod(shape)}")
    return x.with_shape(*shape)


@instruction(
    opcode=0x0300,
    dtypes=ANY,
    types=types_of(
        _reshape,
        accepts=(case("float32[2,3]", shape=(3, 2)), case("float32[1]", shape=())),
        rejects=(case("float32[2,3]", shape=(4,)), case("float32[2,3]", shape=(-1,))),
    ),
)
def reshape(x: Array, *, shape: tuple[int, ...]) -> Array:
    """The same elements in row-major order, in another shape."""
    return x.reshape(shape)


@reshape.gradient
def _(call: Call) -> Gradients:
    return (call.d.reshape(*call[0].shape),)


def _permute(x: TensorType, *, axes: tuple[int, ...]) -> Types:
    if sorted(check_axis(x, axis) for axis in axes) != list(range(x.rank)):
        raise VerifyError(f"axes {axes} are not an order of the axes of {x}")
    return x.with_shape(*(x.shape[axis] for axis in axes))


@instruction(
    opcode=0x0301,
    dtypes=ANY,
    types=types_of(
        _permute,
        accepts=(case("float32[2,3,4]", axes=(2, 0, 1)), case("float32[2,3]", axes=(-1, 0))),
        rejects=(case("float32[2,3]", axes=(0,)), case("float32[2,3]", axes=(0, 0))),
    ),
)
def permute(x: Array, *, axes: tuple[int, ...]) -> Array:
    """Axis i of the result is axis `axes[i]` of `x`."""
    return x.transpose(axes)


@permute.gradient
def _(call: Call) -> Gradients:
    rank = len(call[0].shape)
    axes = [axis % rank for axis in call.attributes["axes"]]
    return (call.d.permute(*(axes.index(axis) for axis in range(rank))),)


def _expand(x: TensorType, *, shape: tuple[int, ...]) -> Types:
    extra = len(shape) - x.rank
    fits = extra >= 0 and all(n in (1, shape[extra + i]) for i, n in enumerate(x.shape))
    if not fits or min(shape, default=0) < 0:
        raise VerifyError(f"{x} does not broadcast to {shape}")
    return x.with_shape(*shape)


@instruction(
    opcode=0x0302,
    dtypes=ANY,
    types=types_of(
        _expand,
        accepts=(case("float32[1,3]", shape=(2, 3)), case("float32[]", shape=(2, 2))),
        rejects=(case("float32[2]", shape=(3,)), case("float32[2,3]", shape=(3,))),
    ),
)
def expand(x: Array, *, shape: tuple[int, ...]) -> Array:
    """Broadcast to a shape."""
    return np.broadcast_to(x, shape)


@expand.gradient
def _(call: Call) -> Gradients:
    d, x = call.d, call[0]
    extra = len(d.shape) - len(x.shape)
    axes = [
        axis
        for axis, size in enumerate(d.shape)
        if axis < extra or (x.shape[axis - extra] == 1 and size != 1)
    ]
    return ((d.sum(*axes) if axes else d).reshape(*x.shape),)


OPS = (reshape, permute, expand)
