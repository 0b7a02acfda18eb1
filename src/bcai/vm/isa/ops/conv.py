"""Convolutions over one to three spatial axes, and their gradients.

Each is a contraction in the order of Note [Order of a contraction] over k:
- `Conv`: (channel, *tap); padding counts as +0.
- `ConvInputGrad`: (output channel, *tap); a tap that wrote nothing counts as +0.
- `ConvWeightGrad`: (sample, *place of the result).
"""

import math

import numpy as np

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Bound, Call, Gradients, Types, case, instruction, types_of
from bcai.vm.isa.order import contract, widen
from bcai.vm.isa.rules import same_dtype
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import FLOATS, Array, TensorType
from bcai.vm.isa.widened import widened
from bcai.vm.isa.windows import Window, flat_columns, read_windows

_CONTRACTED = Bound(ulp=2, terms_ulp=1)
Ints = tuple[int, ...]


def _check(x: TensorType, w: TensorType, groups: int) -> None:
    same_dtype(x, w)
    if not 3 <= x.rank <= 5 or w.rank != x.rank:
        raise VerifyError(f"{x} and {w}: expected [n, channels, 1 to 3 sizes] and a weight alike")
    if groups < 1 or w.shape[0] % groups or x.shape[1] != w.shape[1] * groups or not w.shape[1]:
        raise VerifyError(f"{x.shape[1]} channels in {groups} groups do not fit a weight of {w}")


def _conv(
    x: TensorType,
    w: TensorType,
    b: TensorType | None = None,
    *,
    stride: Ints,
    padding_before: Ints,
    padding_after: Ints,
    dilation: Ints,
    groups: int,
) -> Types:
    _check(x, w, groups)
    if b is not None and b != x.with_shape(w.shape[0]):
        raise VerifyError(f"bias is {b}, expected {x.with_shape(w.shape[0])}")
    window = Window(w.shape[2:], stride, padding_before, padding_after, dilation)
    return x.with_shape(x.shape[0], w.shape[0], *window.output_sizes(x.shape[2:]))


_PLAIN_1D = {"stride": (1,), "padding_before": (0,), "padding_after": (0,), "dilation": (1,)}
_MIXED_2D = {
    "stride": (2, 1), "padding_before": (1, 0), "padding_after": (0, 2), "dilation": (1, 2),
}  # fmt: skip
_UNIT_3D = {
    "stride": (1, 1, 1), "padding_before": (0, 0, 0), "padding_after": (0, 0, 0),
    "dilation": (1, 1, 1),
}  # fmt: skip


@instruction(
    opcode=0x0510,
    dtypes=FLOATS,
    bound=_CONTRACTED,
    types=types_of(
        _conv,
        accepts=(
            case("float32[2,3,5]", "float32[4,3,2]", "float32[4]", **_PLAIN_1D, groups=1),
            case("float32[1,4,5,4]", "float32[6,2,3,2]", **_MIXED_2D, groups=2),
            case("float32[1,1,2,3,2]", "float32[2,1,2,2,1]", **_UNIT_3D, groups=1),
            case("float32[0,3,5]", "float32[4,3,2]", **_PLAIN_1D, groups=1),
            case("float32[1,3,4]", "float32[3,1,2]", "float32[3]", **_PLAIN_1D, groups=3),
        ),
        rejects=(
            case("float32[2,3,5]", "float32[4,2,2]", **_PLAIN_1D, groups=1),
            case("float32[2,3,1]", "float32[4,3,2]", **_PLAIN_1D, groups=1),
            case("float32[2,3,5]", "float32[4,3,2]", "float32[3]", **_PLAIN_1D, groups=1),
            case("float32[2,3,5]", "float32[4,3,2]", **(_PLAIN_1D | {"stride": (0,)}), groups=1),
        ),
    ),
)
def conv(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: tuple[int, ...],
    padding_before: tuple[int, ...],
    padding_after: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int = 1,
) -> Array:
    """Cross-correlation: `T[n, c, *sizes]`, `T[oc, c / groups, *kernel]` to `T[n, oc, *out]`.

    The bias is added after the contraction. Source: ONNX Conv-22.
    """
    window = Window(w.shape[2:], stride, padding_before, padding_after, dilation)
    outputs = window.output_sizes(x.shape[2:])
    columns = flat_columns(read_windows(widen(x), window.tables(x.shape[2:], outputs)), len(stride))
    grouped = columns.reshape(x.shape[0], groups, columns.shape[1] // groups, columns.shape[2])
    rows = widen(w).reshape(groups, w.shape[0] // groups, math.prod(w.shape[1:]))
    y = contract(rows[None], grouped).reshape(x.shape[0], w.shape[0], *outputs)
    if b is not None:
        y = y + widen(b).reshape(-1, *(1 for _ in outputs))
    return y.astype(x.dtype)


@conv.gradient
def _(call: Call) -> Gradients:
    x, w, at = call[0], call[1], call.attributes
    axes = (0, *range(2, len(x.shape)))
    d_b = call.d.emit("Sum", axes=axes, keepdims=False) if call.get(2) is not None else None
    return (
        call.d.emit("ConvInputGrad", w, input_shape=x.shape, **at),
        call.d.emit("ConvWeightGrad", x, weight_shape=w.shape, **at),
        d_b,
    )


def _conv_input_grad(
    d: TensorType,
    w: TensorType,
    *,
    input_shape: Ints,
    stride: Ints,
    padding_before: Ints,
    padding_after: Ints,
    dilation: Ints,
    groups: int,
) -> Types:
    if len(input_shape) != d.rank or min(input_shape, default=0) < 0:
        raise VerifyError(f"input_shape is {input_shape}, expected {d.rank} sizes")
    x = d.with_shape(*input_shape)
    result = _conv(
        x,
        w,
        stride=stride,
        padding_before=padding_before,
        padding_after=padding_after,
        dilation=dilation,
        groups=groups,
    )
    if result != d:
        raise VerifyError(f"{d} is not the result of a convolution of {x}, which is {result}")
    return x


@instruction(
    opcode=0x0511,
    dtypes=FLOATS,
    bound=_CONTRACTED,
    types=types_of(
        _conv_input_grad,
        accepts=(
            case("float32[2,4,4]", "float32[4,3,2]", input_shape=(2, 3, 5), **_PLAIN_1D, groups=1),
            case(
                "float32[1,6,2,4]", "float32[6,2,3,2]", input_shape=(1, 4, 5, 4), **_MIXED_2D,
                groups=2,
            ),
        ),
        rejects=(
            case("float32[2,4,5]", "float32[4,3,2]", input_shape=(2, 3, 5), **_PLAIN_1D, groups=1),
            case("float32[2,4,4]", "float32[4,3,2]", input_shape=(2, 3), **_PLAIN_1D, groups=1),
        ),
    ),
)  # fmt: skip
def conv_input_grad(
    d: Array,
    w: Array,
    *,
    input_shape: tuple[int, ...],
    stride: tuple[int, ...],
    padding_before: tuple[int, ...],
    padding_after: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int = 1,
) -> Array:
    """Gradient of `Conv` with respect to its input; also what a transposed convolution computes."""
    window = Window(w.shape[2:], stride, padding_before, padding_after, dilation)
    n, channels, *sizes = input_shape
    tables = window.transposed_tables(tuple(sizes), d.shape[2:])
    columns = flat_columns(read_windows(widen(d), tables), len(stride))
    grouped = columns.reshape(n, groups, columns.shape[1] // groups, columns.shape[2])
    taps = widen(w).reshape(groups, w.shape[0] // groups, w.shape[1], math.prod(w.shape[2:]))
    rows = taps.transpose(0, 2, 1, 3).reshape(groups, w.shape[1], grouped.shape[2])
    return contract(rows[None], grouped).reshape(n, channels, *sizes).astype(d.dtype)


@conv_input_grad.gradient
def _(call: Call) -> Gradients:
    d, w, at = call[0], call[1], dict(call.attributes)
    del at["input_shape"]
    return (
        call.d.emit("Conv", w, **at),
        d.emit("ConvWeightGrad", call.d, weight_shape=w.shape, **at),
    )


def _conv_weight_grad(
    d: TensorType,
    x: TensorType,
    *,
    weight_shape: Ints,
    stride: Ints,
    padding_before: Ints,
    padding_after: Ints,
    dilation: Ints,
    groups: int,
) -> Types:
    if len(weight_shape) != d.rank or min(weight_shape, default=0) < 0:
        raise VerifyError(f"weight_shape is {weight_shape}, expected {d.rank} sizes")
    w = d.with_shape(*weight_shape)
    result = _conv(
        x,
        w,
        stride=stride,
        padding_before=padding_before,
        padding_after=padding_after,
        dilation=dilation,
        groups=groups,
    )
    if result != d:
        raise VerifyError(f"{d} is not the result of a convolution with {w}, which is {result}")
    return w


@instruction(
    opcode=0x0512,
    dtypes=FLOATS,
    bound=_CONTRACTED,
    types=types_of(
        _conv_weight_grad,
        accepts=(
            case("float32[2,4,4]", "float32[2,3,5]", weight_shape=(4, 3, 2), **_PLAIN_1D, groups=1),
            case(
                "float32[1,6,2,4]", "float32[1,4,5,4]", weight_shape=(6, 2, 3, 2), **_MIXED_2D,
                groups=2,
            ),
        ),
        rejects=(
            case("float32[2,4,5]", "float32[2,3,5]", weight_shape=(4, 3, 2), **_PLAIN_1D, groups=1),
            case("float32[2,4,4]", "float32[2,3,5]", weight_shape=(4, 3), **_PLAIN_1D, groups=1),
        ),
    ),
)  # fmt: skip
def conv_weight_grad(
    d: Array,
    x: Array,
    *,
    weight_shape: tuple[int, ...],
    stride: tuple[int, ...],
    padding_before: tuple[int, ...],
    padding_after: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int = 1,
) -> Array:
    """Gradient of `Conv` with respect to its weight."""
    window = Window(weight_shape[2:], stride, padding_before, padding_after, dilation)
    outputs = d.shape[2:]
    columns = flat_columns(read_windows(widen(x), window.tables(x.shape[2:], outputs)), len(stride))
    places = x.shape[0] * math.prod(outputs)
    per_group = columns.reshape(x.shape[0], groups, columns.shape[1] // groups, columns.shape[2])
    right = per_group.transpose(1, 0, 3, 2).reshape(groups, places, per_group.shape[2])
    rows = widen(d).reshape(x.shape[0], groups, weight_shape[0] // groups, math.prod(outputs))
    left = rows.transpose(1, 2, 0, 3).reshape(groups, weight_shape[0] // groups, places)
    return contract(left, right).reshape(weight_shape).astype(d.dtype)


@conv_weight_grad.gradient
def _(call: Call) -> Gradients:
    d, x, at = call[0], call[1], dict(call.attributes)
    del at["weight_shape"]
    return (
        x.emit("Conv", call.d, **at),
        d.emit("ConvInputGrad", call.d, input_shape=x.shape, **at),
    )


def _conv_transpose(
    x: TensorType,
    w: TensorType,
    b: TensorType | None = None,
    *,
    stride: Ints,
    padding: Ints,
    output_padding: Ints,
    dilation: Ints,
    groups: int,
) -> Types:
    same_dtype(x, w)
    if not 3 <= x.rank <= 5 or w.rank != x.rank or x.shape[1] != w.shape[0]:
        raise VerifyError(f"{x} and {w}: expected [n, c, 1 to 3 sizes] and [c, oc / groups, *k]")
    if groups < 1 or x.shape[1] % groups or not w.shape[1]:
        raise VerifyError(f"{x.shape[1]} channels cannot be cut into {groups} groups")
    rank = x.rank - 2
    for name, values, least in (
        ("stride", stride, 1), ("padding", padding, 0), ("output_padding", output_padding, 0),
        ("dilation", dilation, 1),
    ):  # fmt: skip
        if len(values) != rank or min(values) < least:
            raise VerifyError(f"{name} is {values}, expected {rank} values of at least {least}")
    sizes: list[int] = []
    for axis in range(rank):
        if output_padding[axis] >= max(stride[axis], dilation[axis]):
            raise VerifyError("output_padding is not below stride or dilation")
        size = (x.shape[2 + axis] - 1) * stride[axis] - 2 * padding[axis]
        sizes.append(size + dilation[axis] * (w.shape[2 + axis] - 1) + output_padding[axis] + 1)
    if min(sizes) < 1:
        raise VerifyError(f"the result would have sizes {tuple(sizes)}")
    channels = w.shape[1] * groups
    if b is not None and b != x.with_shape(channels):
        raise VerifyError(f"bias is {b}, expected {x.with_shape(channels)}")
    return x.with_shape(x.shape[0], channels, *sizes)


_TRANSPOSED = {"stride": (2,), "padding": (1,), "output_padding": (1,), "dilation": (1,)}


@instruction(
    opcode=0x0513,
    dtypes=FLOATS,
    bound=_CONTRACTED,
    types=types_of(
        _conv_transpose,
        accepts=(
            case("float32[2,4,3]", "float32[4,3,3]", "float32[3]", **_TRANSPOSED, groups=1),
            case(
                "float32[1,4,2,3]", "float32[4,2,2,2]", stride=(1, 2), padding=(0, 1),
                output_padding=(0, 1), dilation=(2, 1), groups=2,
            ),
        ),
        rejects=(
            case("float32[2,3,3]", "float32[4,3,3]", **_TRANSPOSED, groups=1),
            case(
                "float32[2,4,3]", "float32[4,3,3]", **(_TRANSPOSED | {"output_padding": (2,)}),
                groups=1,
            ),
        ),
    ),
)  # fmt: skip
def conv_transpose(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int = 1,
) -> Array:
    """Transposed convolution: `T[n, c, *sizes]`, `T[c, oc / groups, *kernel]` to `T[n, oc, *out]`.

    It is the input gradient of the convolution with the same weight; the bias is added after.
    Source: ONNX ConvTranspose-22, `torch.nn.ConvTranspose2d`.
    """
    n, c, *sizes = x.shape
    oc, kernel = w.shape[1], w.shape[2:]
    full = [
        (s - 1) * t + d * (k - 1) + 1
        for s, t, d, k in zip(sizes, stride, dilation, kernel, strict=True)
    ]
    y = np.zeros((n, groups * oc, *(f + o for f, o in zip(full, output_padding, strict=True))))
    for tap in np.ndindex(kernel):
        place = tuple(
            slice(k * d, k * d + (s - 1) * t + 1, t)
            for k, d, s, t in zip(tap, dilation, sizes, stride, strict=True)
        )
        for group in range(groups):
            taken = slice(group * (c // groups), (group + 1) * (c // groups))
            part = np.einsum("nc...,co->no...", x[:, taken], w[(taken, slice(None), *tap)])
            y[(slice(None), slice(group * oc, (group + 1) * oc), *place)] += part
    cut = tuple(slice(p, f + o - p) for p, f, o in zip(padding, full, output_padding, strict=True))
    bias = 0 if b is None else b.reshape(-1, *(1 for _ in kernel))
    return y[(slice(None), slice(None), *cut)] + bias


@conv_transpose.lowering
@widened
def _(call: Call) -> Symbol:
    x, w, at = call[0], call[1], call.attributes
    shape, rank = _conv_transpose_shape(call), len(x.shape) - 2
    # Where the output padding is larger than the padding, what hangs over is all zeros.
    beyond = [max(0, o - p) for p, o in zip(at["padding"], at["output_padding"], strict=True)]
    y = x.emit(
        "ConvInputGrad",
        w,
        input_shape=(*shape[:2], *(n - b for n, b in zip(shape[2:], beyond, strict=True))),
        stride=at["stride"],
        padding_before=at["padding"],
        padding_after=tuple(
            max(0, p - o) for p, o in zip(at["padding"], at["output_padding"], strict=True)
        ),
        dilation=at["dilation"],
        groups=at["groups"],
    )
    if any(beyond):
        y = y.emit("Pad", before=(0,) * (rank + 2), after=(0, 0, *beyond), value=0.0)
    bias = call.get(2)
    return y if bias is None else y + bias.reshape(shape[1], *(1 for _ in shape[2:]))


def _conv_transpose_shape(call: Call) -> list[int]:
    inferred = _conv_transpose(call[0].type, call[1].type, **call.attributes)
    assert isinstance(inferred, TensorType)
    return list(inferred.shape)


OPS = (conv, conv_input_grad, conv_weight_grad, conv_transpose)
