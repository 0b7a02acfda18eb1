"""Attention and rotary positions: macros over contractions and softmax."""

import math

import numpy as np

from bcai.base.errors import VerifyError
from bcai.vm.isa.op import Bound, Call, Types, case, instruction, types_of
from bcai.vm.isa.ops.activation import where
from bcai.vm.isa.ops.random import check_draw, dropout
from bcai.vm.isa.rules import broadcast, same_dtype
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import FLOATS, Array, DType, TensorType
from bcai.vm.isa.widened import widened

_SUMMED = Bound(ulp=16, terms_ulp=4)


def _attention(
    q: TensorType,
    k: TensorType,
    v: TensorType,
    mask: TensorType | None = None,
    *,
    scale: float,
    causal: bool,
) -> Types:
    del scale, causal
    dtype = same_dtype(q, k, v)
    if min(q.rank, k.rank, v.rank) < 2 or not q.rank == k.rank == v.rank:
        raise VerifyError(f"{q}, {k}, {v}: expected one rank of at least 2, [..., length, size]")
    if q.shape[-1] != k.shape[-1] or k.shape[:-1] != v.shape[:-1] or q.shape[-1] < 1:
        raise VerifyError(f"{q}, {k}, {v}: sizes do not fit")
    if q.rank > 2 and (k.shape[-3] < 1 or q.shape[-3] % k.shape[-3]):
        raise VerifyError(f"{q.shape[-3]} heads cannot share {k.shape[-3]} key heads")
    if q.rank > 3 and q.shape[:-3] != k.shape[:-3]:
        raise VerifyError(f"batches of {q} and {k} differ")
    if mask is not None:
        scores = (*q.shape[:-1], k.shape[-2])
        if mask.dtype is not DType.bool and mask.dtype is not dtype:
            raise VerifyError(f"mask is {mask}, expected bool or {dtype.name}")
        if broadcast(mask.with_shape(*scores), mask) != scores:
            raise VerifyError(f"mask is {mask}, expected what broadcasts to {scores}")
    return q.with_shape(*q.shape[:-1], v.shape[-1])


_ATTENTION_CASES = (
    case("float32[2,4,5,3]", "float32[2,4,6,3]", "float32[2,4,6,2]", scale=0.0, causal=False),
    case(
        "float32[2,4,5,3]", "float32[2,2,5,3]", "float32[2,2,5,3]", "bool[5,5]",
        scale=0.5, causal=False,
    ),
    case("float32[4,5,3]", "float32[4,5,3]", "float32[4,5,3]", scale=0.0, causal=True),
    case(
        "float32[1,2,3,4]", "float32[1,2,3,4]", "float32[1,2,3,4]", "float32[1,1,1,3]",
        scale=0.0, causal=False,
    ),
    case("float32[3,4]", "float32[5,4]", "float32[5,4]", scale=0.0, causal=False),
)  # fmt: skip
_ATTENTION_BAD = (
    case("float32[2,3,5,3]", "float32[2,2,5,3]", "float32[2,2,5,3]", scale=0.0, causal=False),
    case("float32[5,3]", "float32[5,4]", "float32[5,4]", scale=0.0, causal=False),
    case("float32[5,3]", "float32[5,3]", "float32[5,3]", "bool[4,5]", scale=0.0, causal=False),
    case("float32[5,3]", "float32[5,3]", "float32[5,3]", "int64[5,5]", scale=0.0, causal=False),
)


@instruction(
    opcode=0x0780,
    dtypes=FLOATS,
    bound=_SUMMED,
    types=types_of(_attention, accepts=_ATTENTION_CASES, rejects=_ATTENTION_BAD),
)
def attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    *,
    scale: float = 0.0,
    causal: bool = False,
) -> Array:
    """Scaled dot-product attention: `softmax(q @ k.T * scale + mask) @ v`.

    `q` is `T[..., heads, length, size]`, `k` and `v` are `T[..., key heads, source, size]`; each
    key head serves `heads / key heads` consecutive heads (grouped queries). `scale` 0 stands for
    `1 / sqrt(size)`. `mask` is bool (True takes part) or is added. `causal`: position i sees
    sources up to i. The scores are contracted, scaled, masked, put through a whole-row softmax
    and contracted again; a row that sees nothing gives 0.

    Source: arXiv:1706.03762, `torch.nn.functional.scaled_dot_product_attention`.
    """
    share = q.shape[-3] // k.shape[-3] if q.ndim > 2 else 1
    keys = np.repeat(k, share, -3) if share > 1 else k
    values = np.repeat(v, share, -3) if share > 1 else v
    scores = q @ keys.swapaxes(-1, -2) * (scale or 1 / math.sqrt(q.shape[-1]))
    seen = np.ones(scores.shape, bool)
    if causal:
        seen &= np.tri(*scores.shape[-2:], dtype=bool)
    if mask is not None and mask.dtype == bool:
        seen &= mask
    elif mask is not None:
        scores = scores + mask
    scores = np.where(seen, scores, -np.inf)
    largest: Array = np.max(scores, -1, keepdims=True, initial=-np.inf)
    e = np.exp(scores - np.where(np.isneginf(largest), 0, largest))
    total = e.sum(-1, keepdims=True)
    return (e / np.where(total == 0, 1, total)) @ values


def _masked_weights(call: Call, mask: Symbol | None) -> tuple[Symbol, Symbol]:
    """Attention weights `[..., length, source]` and the values with heads in their groups.

    Grouped heads are `[..., key heads, share * length, size]`, so that no key is repeated.
    """
    q, k, v, masked = call[0], call[1], call[2], mask is not None
    *batch, length, size = q.shape
    source = k.shape[-2]
    share = q.shape[-3] // k.shape[-3] if len(q.shape) > 2 else 1
    rows = q.reshape(*k.shape[:-2], share * length, size)
    scores = (rows @ k.transpose()).reshape(*batch, length, source)
    scores = scores * (float(call.attributes["scale"]) or 1 / math.sqrt(size))
    if mask is not None and mask.dtype is not DType.bool:
        scores = scores + mask
        mask = None
    seen = _seen(call, mask, length, source)
    if seen is not None:
        scores = where(seen, scores, -math.inf)
    return _softmax_or_zero(scores, masked), v


def _seen(call: Call, mask: Symbol | None, length: int, source: int) -> Symbol | None:
    if not call.attributes["causal"]:
        return mask
    data = np.tri(length, source, dtype=np.uint8).tobytes()
    constant = {"data": data, "shape": (length, source), "dtype": DType.bool}
    triangle = call.builder.emit("Const", (), constant)[0]
    return triangle if mask is None else mask & triangle


def _softmax_or_zero(scores: Symbol, masked: bool) -> Symbol:
    if not scores.type.elements:
        return scores
    if not masked:  # every row sees something
        return scores.emit("Softmax", axis=-1)
    largest = scores.emit("ReduceMax", axes=(-1,), keepdims=True)
    blind = largest.equal(-math.inf)
    weights = where(blind, 0.0, scores).emit("Softmax", axis=-1)
    return where(blind, 0.0, weights)


@attention.lowering
@widened
def _(call: Call) -> Symbol:
    weights, v = _masked_weights(call, call.get(3))
    return _weighted_values(weights, v)


def _weighted_values(weights: Symbol, v: Symbol) -> Symbol:
    *batch, length, source = weights.shape
    share = batch[-1] // v.shape[-3] if batch else 1
    rows = weights.reshape(*v.shape[:-2], share * length, source) @ v
    return rows.reshape(*batch, length, v.shape[-1])


def _attention_dropout(
    q: TensorType,
    k: TensorType,
    v: TensorType,
    seed: TensorType,
    step: TensorType,
    mask: TensorType | None = None,
    *,
    scale: float,
    causal: bool,
    p: float,
    stream: int,
) -> Types:
    check_draw(seed, step, stream=stream)
    if not 0.0 <= p < 1.0:
        raise VerifyError(f"p is {p}, expected 0 <= p < 1")
    return _attention(q, k, v, mask, scale=scale, causal=causal)


@instruction(
    opcode=0x0781,
    dtypes=FLOATS,
    bound=_SUMMED,
    types=types_of(
        _attention_dropout,
        accepts=(
            case(
                "float32[2,5,3]", "float32[2,6,3]", "float32[2,6,2]", "int64[]", "int64[]",
                scale=0.0, causal=False, p=0.5, stream=3,
            ),
        ),
        rejects=(
            case(
                "float32[2,5,3]", "float32[2,6,3]", "float32[2,6,2]", "int64[]", "int64[]",
                scale=0.0, causal=False, p=1.0, stream=3,
            ),
        ),
    ),
)  # fmt: skip
def attention_dropout(
    q: Array,
    k: Array,
    v: Array,
    seed: Array,
    step: Array,
    mask: Array | None = None,
    *,
    scale: float = 0.0,
    causal: bool = False,
    p: float = 0.0,
    stream: int = 0,
) -> Array:
    """`Attention` with `Dropout` on the weights: each is 0 with probability p, else grown."""
    share = q.shape[-3] // k.shape[-3] if q.ndim > 2 else 1
    values = np.repeat(v, share, -3) if share > 1 else v
    eye = np.broadcast_to(np.eye(k.shape[-2]), (*k.shape[:-1], k.shape[-2]))
    weights = np.asarray(attention.body(q, k, eye, mask, scale=scale, causal=causal))
    return np.asarray(dropout.body(weights, seed, step, p=p, stream=stream)) @ values


@attention_dropout.lowering
@widened
def _(call: Call) -> Symbol:
    weights, v = _masked_weights(call, call.get(5))
    drop = {"p": call.attributes["p"], "stream": call.attributes["stream"]}
    return _weighted_values(weights.emit("Dropout", call[3], call[4], **drop), v)


def _rope(x: TensorType, cos: TensorType, sin: TensorType, *, interleaved: bool) -> Types:
    del interleaved
    same_dtype(x, cos, sin)
    if x.rank < 1 or x.shape[-1] % 2 or cos != sin:
        raise VerifyError(f"{x}, {cos}, {sin}: expected an even last axis and tables of one shape")
    wanted = x.with_shape(*x.shape[:-1], x.shape[-1] // 2)
    if broadcast(wanted, cos) != wanted.shape:
        raise VerifyError(f"tables are {cos}, expected what broadcasts to {wanted}")
    return x


@instruction(
    opcode=0x0782,
    dtypes=FLOATS,
    bound=Bound(ulp=4, terms_ulp=1),
    types=types_of(
        _rope,
        accepts=(
            case("float32[2,3,4]", "float32[3,2]", "float32[3,2]", interleaved=False),
            case("float32[3,6]", "float32[3,3]", "float32[3,3]", interleaved=True),
        ),
        rejects=(
            case("float32[3,5]", "float32[3,2]", "float32[3,2]", interleaved=False),
            case("float32[3,4]", "float32[3,4]", "float32[3,4]", interleaved=False),
        ),
    ),
)
def rope(x: Array, cos: Array, sin: Array, *, interleaved: bool = False) -> Array:
    """Rotate pairs of features by given angles: `T[..., length, size]`, tables of `size / 2`.

    A pair is features i and i + size/2, or 2i and 2i + 1 if `interleaved`.
    Source: arXiv:2104.09864, ONNX RotaryEmbedding-23.
    """
    first, second = (x[..., ::2], x[..., 1::2]) if interleaved else np.split(x, 2, -1)
    turned = (first * cos - second * sin, second * cos + first * sin)
    if interleaved:
        return np.stack(turned, -1).reshape(x.shape)
    return np.concatenate(turned, -1)


@rope.lowering
@widened
def _(call: Call) -> Symbol:
    x, cos, sin = call[0], call[1], call[2]
    half = x.shape[-1] // 2
    if call.attributes["interleaved"]:
        pairs = x.reshape(*x.shape[:-1], half, 2)
        axis = len(x.shape)
        first, second = (pairs.emit("Select", axis=axis, index=index) for index in (0, 1))
    else:
        sizes = {"axis": -1, "sizes": (half, half)}
        first, second = call.builder.emit("Split", (x,), sizes)
    turned = (first * cos - second * sin, second * cos + first * sin)
    if not call.attributes["interleaved"]:
        return turned[0].emit("Concat", turned[1], axis=-1)
    shape = (*x.shape[:-1], half, 1)
    stacked = turned[0].reshape(*shape).emit("Concat", turned[1].reshape(*shape), axis=-1)
    return stacked.reshape(*x.shape)


OPS = (attention, attention_dropout, rope)
