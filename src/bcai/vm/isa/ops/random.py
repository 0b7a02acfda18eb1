"""Random numbers from counters: keyed by (seed, stream, step), counted by the element's place.

`seed` and `step` are `int64[]` operands, so that one program serves every step; `stream` is an
attribute, a different one for every use in a program. Nothing here has a gradient but `Dropout`.
"""

import math

import numpy as np

from bcai.base.errors import InputError, VerifyError
from bcai.vm.isa.op import Bound, Call, Gradients, Types, case, instruction, types_of
from bcai.vm.isa.ops.activation import where
from bcai.vm.isa.philox import words
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import FLOATS, Array, DType, TensorType
from bcai.vm.isa.widened import widened

_SCALAR = TensorType(DType.int64)
_KEYS = ("int64[]", "int64[]")
_INT64 = frozenset({DType.int64})


def check_draw(seed: TensorType, step: TensorType, *, stream: int) -> None:
    """Seed and step are int64 scalars, the stream fits 32 bits. Raises VerifyError."""
    if seed != _SCALAR or step != _SCALAR:
        raise VerifyError(f"seed and step are {seed} and {step}, expected int64[]")
    if not 0 <= stream < 1 << 32:
        raise VerifyError(f"stream is {stream}, expected 0 to 2^32 - 1")


def draw_words(seed: Array, step: Array, stream: int, count: int) -> Array:
    """32-bit words as uint32. Raises InputError for a step outside 32 bits."""
    at = int(step)
    if not 0 <= at < 1 << 32:
        raise InputError(f"step is {at}, expected 0 to 2^32 - 1")
    return words(int(seed), at, stream, count)


def _philox(seed: TensorType, step: TensorType, *, stream: int, shape: tuple[int, ...]) -> Types:
    check_draw(seed, step, stream=stream)
    return TensorType(DType.int64, shape)


@instruction(
    opcode=0x0600,
    dtypes=_INT64,
    differentiable=False,
    types=types_of(
        _philox,
        accepts=(
            case(*_KEYS, stream=0, shape=(2, 3)),
            case(*_KEYS, stream=7, shape=()),
            case(*_KEYS, stream=1, shape=(0,)),
        ),
        rejects=(
            case(*_KEYS, stream=-1, shape=(2,)),
            case("int64[1]", "int64[]", stream=0, shape=()),
        ),
    ),
)
def philox(seed: Array, step: Array, *, stream: int, shape: tuple[int, ...]) -> Array:
    """Random whole numbers from 0 to 2^32 - 1, as int64.

    Element i, counted row-major, is word i % 4 of the Philox-4x32-10 block with the counter
    (i // 4 low, i // 4 high, step, stream) under the key (seed low, seed high).
    """
    return draw_words(seed, step, stream, math.prod(shape)).astype(np.int64).reshape(shape)


def _uniform(
    seed: TensorType, step: TensorType, *, stream: int, shape: tuple[int, ...], dtype: DType
) -> Types:
    check_draw(seed, step, stream=stream)
    if not dtype.is_float:
        raise VerifyError(f"dtype is {dtype.name}, expected a float")
    return TensorType(dtype, shape)


@instruction(
    opcode=0x0601,
    dtypes=_INT64,
    differentiable=False,
    types=types_of(
        _uniform,
        accepts=tuple(case(*_KEYS, stream=3, shape=(2, 5), dtype=each) for each in sorted(FLOATS)),
        rejects=(case(*_KEYS, stream=0, shape=(2,), dtype=DType.int32),),
    ),
)
def uniform(
    seed: Array, step: Array, *, stream: int, shape: tuple[int, ...], dtype: DType = DType.float32
) -> Array:
    """Numbers from 0 up to but not including 1, evenly spread.

    float32: `(word >> 8) * 2^-24`; float16 and bfloat16 keep the top 11 and 8 bits in the same way.
    float64: words 2i and 2i + 1 give `((high << 32 | low) >> 11) * 2^-53`.
    """
    count = math.prod(shape)
    if dtype is DType.float64:
        pairs = draw_words(seed, step, stream, 2 * count).astype(np.uint64).reshape(count, 2)
        whole = (pairs[:, 0] << np.uint64(32) | pairs[:, 1]) >> np.uint64(11)
        return (whole.astype(np.float64) * 2.0**-53).reshape(shape)
    bits = {DType.float32: 24, DType.float16: 11, DType.bfloat16: 8}[dtype]
    whole = draw_words(seed, step, stream, count) >> np.uint32(32 - bits)
    return (whole.astype(np.float32) * np.float32(2.0**-bits)).astype(dtype.numpy).reshape(shape)


@instruction(
    opcode=0x0602,
    dtypes=_INT64,
    differentiable=False,
    bound=Bound(ulp=64),
    types=types_of(
        _uniform,
        accepts=(
            case(*_KEYS, stream=3, shape=(2, 5), dtype=DType.float32),
            case(*_KEYS, stream=3, shape=(), dtype=DType.float64),
            case(*_KEYS, stream=3, shape=(3,), dtype=DType.bfloat16),
        ),
        rejects=(case(*_KEYS, stream=0, shape=(2,), dtype=DType.int32),),
    ),
)
def normal(
    seed: Array, step: Array, *, stream: int, shape: tuple[int, ...], dtype: DType = DType.float32
) -> Array:
    """Normal numbers with mean 0 and variance 1.

    Two uniform planes u, v give `Sqrt(-2 Log(1 - u)) * Cos(2 pi v)`.
    Source: Box and Muller, Annals of Mathematical Statistics 29, 1958.
    """
    wide = DType.float64 if dtype is DType.float64 else DType.float32
    planes = np.asarray(uniform.body(seed, step, stream=stream, shape=(2, *shape), dtype=wide))
    u, v = planes.astype(np.float64)
    return (np.sqrt(-2 * np.log(1 - u)) * np.cos(2 * math.pi * v)).astype(dtype.numpy)


@normal.lowering
def _(call: Call) -> Symbol:
    shape, dtype = call.attributes["shape"], call.attributes["dtype"]
    wide = DType.float64 if dtype is DType.float64 else DType.float32
    draw = {"stream": call.attributes["stream"], "shape": (2, *shape), "dtype": wide}
    planes = call[0].emit("Uniform", call[1], **draw)
    u, v = (planes.emit("Select", axis=0, index=index) for index in (0, 1))
    radius = ((1.0 - u).emit("Log") * -2.0).emit("Sqrt")
    return (radius * (v * (2 * math.pi)).emit("Cos")).cast(dtype)


def _random_int(
    seed: TensorType,
    step: TensorType,
    *,
    stream: int,
    shape: tuple[int, ...],
    low: int,
    high: int,
) -> Types:
    check_draw(seed, step, stream=stream)
    if not 0 < high - low <= 1 << 31:
        raise VerifyError(f"low {low} and high {high}: expected 1 to 2^31 values")
    return TensorType(DType.int64, shape)


@instruction(
    opcode=0x0603,
    dtypes=_INT64,
    differentiable=False,
    types=types_of(
        _random_int,
        accepts=(
            case(*_KEYS, stream=0, shape=(2, 3), low=-2, high=5),
            case(*_KEYS, stream=0, shape=(), low=0, high=1),
        ),
        rejects=(case(*_KEYS, stream=0, shape=(2,), low=3, high=3),),
    ),
)
def random_int(
    seed: Array, step: Array, *, stream: int, shape: tuple[int, ...], low: int, high: int
) -> Array:
    """Whole numbers from `low` up to but not including `high`: `low + (word * range >> 32)`.

    No value is more likely than another by more than `range * 2^-32`.
    """
    drawn = draw_words(seed, step, stream, math.prod(shape)).astype(np.uint64)
    scaled = (drawn * np.uint64(high - low)) >> np.uint64(32)
    return (scaled.astype(np.int64) + low).reshape(shape)


def _permutation(seed: TensorType, step: TensorType, *, stream: int, count: int) -> Types:
    check_draw(seed, step, stream=stream)
    return TensorType(DType.int64, (count,))


@instruction(
    opcode=0x0604,
    dtypes=_INT64,
    differentiable=False,
    types=types_of(
        _permutation,
        accepts=(case(*_KEYS, stream=0, count=7), case(*_KEYS, stream=0, count=0)),
        rejects=(case(*_KEYS, stream=0, count=-1),),
    ),
)
def permutation(seed: Array, step: Array, *, stream: int, count: int) -> Array:
    """Numbers 0 to count - 1 in random order: the places of `Philox` words, stably sorted."""
    return np.argsort(draw_words(seed, step, stream, count), kind="stable").astype(np.int64)


@permutation.lowering
def _(call: Call) -> Symbol:
    draw = {"stream": call.attributes["stream"], "shape": (call.attributes["count"],)}
    drawn = call[0].emit("Philox", call[1], **draw)
    return call.builder.emit("Sort", (drawn,), {"axis": 0, "descending": False})[1]


def _bernoulli(
    seed: TensorType, step: TensorType, *, stream: int, shape: tuple[int, ...], p: float
) -> Types:
    check_draw(seed, step, stream=stream)
    if not 0.0 <= p <= 1.0:
        raise VerifyError(f"p is {p}, expected 0 to 1")
    return TensorType(DType.bool, shape)


@instruction(
    opcode=0x0605,
    dtypes=_INT64,
    differentiable=False,
    types=types_of(
        _bernoulli,
        accepts=(
            case(*_KEYS, stream=0, shape=(9,), p=0.3),
            case(*_KEYS, stream=0, shape=(2,), p=1.0),
        ),
        rejects=(case(*_KEYS, stream=0, shape=(2,), p=1.5),),
    ),
)
def bernoulli(seed: Array, step: Array, *, stream: int, shape: tuple[int, ...], p: float) -> Array:
    """True with probability p: whether `Uniform` in float32 is below p, rounded to float32."""
    drawn = np.asarray(uniform.body(seed, step, stream=stream, shape=shape))
    return drawn < np.float32(p)


@bernoulli.lowering
def _(call: Call) -> Symbol:
    draw = {"stream": call.attributes["stream"], "shape": call.attributes["shape"]}
    return call[0].emit("Uniform", call[1], **draw, dtype=DType.float32) < call.attributes["p"]


def _dropout(x: TensorType, seed: TensorType, step: TensorType, *, p: float, stream: int) -> Types:
    check_draw(seed, step, stream=stream)
    if not 0.0 <= p < 1.0:
        raise VerifyError(f"p is {p}, expected 0 <= p < 1")
    return x


@instruction(
    opcode=0x0606,
    dtypes=FLOATS,
    bound=Bound(ulp=2),
    types=types_of(
        _dropout,
        accepts=(
            case("float32[4,5]", *_KEYS, p=0.5, stream=2),
            case("float32[3]", *_KEYS, p=0.0, stream=0),
        ),
        rejects=(case("float32[3]", *_KEYS, p=1.0, stream=0), case("float32[3]", p=0.5, stream=0)),
    ),
)
def dropout(x: Array, seed: Array, step: Array, *, p: float, stream: int) -> Array:
    """0 with probability p, else `x / (1 - p)`: `Uniform` in float32 decides, below p is 0.

    With p = 0 it is `x`. Source: JMLR 15 (2014) 1929.
    """
    if p == 0.0:
        return x
    drawn = np.asarray(uniform.body(seed, step, stream=stream, shape=x.shape))
    return np.where(drawn < np.float32(p), 0, x * (1 / (1 - p))).astype(x.dtype)


@dropout.lowering
@widened
def _(call: Call) -> Symbol:
    return _drop(call, call[0])


@dropout.gradient
def _(call: Call) -> Gradients:
    return _drop(call, call.d), None, None


def _drop(call: Call, x: Symbol) -> Symbol:
    p = float(call.attributes["p"])
    if p == 0.0:
        return x
    draw = {"stream": call.attributes["stream"], "shape": x.shape, "p": p}
    return where(call[1].emit("Bernoulli", call[2], **draw), 0.0, x * (1.0 / (1.0 - p)))


OPS = (philox, uniform, normal, random_int, permutation, bernoulli, dropout)
