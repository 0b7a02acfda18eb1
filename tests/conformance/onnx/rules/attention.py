"""Attention in ONNX's forms, and rotary positions."""

import math

import numpy as np
from tests.conformance.onnx.importer import Node, Results, onnx_op
from tests.conformance.onnx.suite import Graph

from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import DType


@onnx_op("Attention")
def attention(node: Node) -> Results:
    flat = len(node[0].shape) == 3
    q = _heads(node[0], node.integer("q_num_heads", 0))
    k, v = (_heads(node[index], node.integer("kv_num_heads", 0)) for index in (1, 2))
    past = 0
    past_k, past_v = node.get(4), node.get(5)
    if past_k is not None and past_v is not None:
        past = past_k.shape[2]
        k = node.emit("Concat", past_k, k, axis=2)
        v = node.emit("Concat", past_v, v, axis=2)
    bias = _bias(node, q, k, past)
    plain = not (node.wants(3) or node.number("softcap", 0.0) or node.has("softmax_precision"))
    scale = node.number("scale", 0.0) or 1.0 / math.sqrt(q.shape[-1])
    if plain:
        y, scores = node.emit("Attention", q, k, v, bias, scale=scale), None
    else:
        y, scores = _explicit(node, q, k, v, bias)
    if flat:
        y = y.permute(0, 2, 1, 3)
        y = y.reshape(*y.shape[:2], y.shape[2] * y.shape[3])
    return y, k, v, scores


def _heads(x: Symbol, heads: int) -> Symbol:
    """`[b, l, heads * d]` to `[b, heads, l, d]`."""
    if len(x.shape) == 4:
        return x
    batch, length, features = x.shape
    return x.reshape(batch, length, heads, features // heads).permute(0, 2, 1, 3)


def _bias(node: Node, q: Symbol, k: Symbol, past: int) -> Symbol | None:
    """Everything that is added to the scores: mask, causality, window, padding."""
    parts: list[Symbol] = []
    length = k.shape[2]
    mask, valid = node.get(3), node.get(6)
    if mask is not None:
        mask = _additive(node, mask, q)
        missing = length - mask.shape[-1]
        if missing > 0:
            last = len(mask.shape) - 1
            ends = (0,) * last
            mask = node.emit(
                "Pad", mask, before=(0,) * (last + 1), after=(*ends, missing), value=-math.inf
            )
        parts.append(mask)
    row = node.arange(q.shape[2]).reshape(q.shape[2], 1)
    column = node.arange(length).reshape(1, length)
    offset = None if valid is None else valid.cast(DType.int64).reshape(q.shape[0], 1, 1, 1)
    place = row + past if offset is None else row + (offset - q.shape[2])
    right = 0 if node.integer("is_causal", 0) else node.integer("right_window_size", -1)
    left = node.integer("left_window_size", -1)
    if right >= 0:
        parts.append(_additive(node, column <= place + right, q))
    if node.integer("is_causal", 0) and node.integer("right_window_size", -1) > 0:
        right = node.integer("right_window_size")
        parts.append(_additive(node, column <= place + right, q))
    if left >= 0:
        parts.append(_additive(node, column >= place - left, q))
    if offset is not None:
        parts.append(_additive(node, column.expand(1, 1, 1, length) < offset, q))
    total = None
    for part in parts:
        total = part if total is None else total + part
    return total


def _additive(node: Node, mask: Symbol, q: Symbol) -> Symbol:
    if mask.dtype is not DType.bool:
        return mask.cast(q.dtype)
    return node.where(mask, q.scalar(0.0), -math.inf)


def _explicit(
    node: Node, q: Symbol, k: Symbol, v: Symbol, bias: Symbol | None
) -> tuple[Symbol, Symbol]:
    """The same, step by step, where a step's result comes out or another step stands between."""
    scale = math.sqrt(node.number("scale", 0.0) or 1.0 / math.sqrt(q.shape[-1]))
    k, v = (_repeated(each, q.shape[1]) for each in (k, v))
    scores = (q * scale) @ (k * scale).transpose()
    mode = node.integer("qk_matmul_output_mode", 0)
    stages = [scores]
    cap = node.number("softcap", 0.0)
    if cap:
        scores = node.emit("Tanh", scores / cap) * cap
    stages.append(scores)
    if bias is not None:
        scores = scores + bias
    stages.append(scores)
    if node.has("softmax_precision"):
        scores = scores.cast(node.dtype("softmax_precision"))
    weights = node.emit("Softmax", scores, axis=-1)
    if bias is not None:
        whole = bias.expand(*np.broadcast_shapes(bias.shape, (q.shape[2], k.shape[2])))
        last = len(whole.shape) - 1
        highest = node.emit("ReduceMax", whole, axes=(last,), keepdims=True)
        weights = node.where(highest.equal(-math.inf), 0.0, weights)
    weights = weights.cast(q.dtype)
    stages.append(weights)
    if mode == 0 and cap:  # the reference shows the capped scores already
        stages[0] = stages[1]
    return weights @ v, stages[mode]


def _repeated(x: Symbol, heads: int) -> Symbol:
    """Each head of keys or values as often as queries share it."""
    batch, have, length, size = x.shape
    shape = (batch, have, heads // have, length, size)
    return (
        x.reshape(batch, have, 1, length, size).expand(*shape).reshape(batch, heads, length, size)
    )


@onnx_op("FlexAttention")
def flex_attention(node: Node) -> Results:
    q, k, v = node[0], node[1], node[2]
    wide = DType.float64 if q.dtype is DType.float64 else DType.float32
    if node.has("softmax_precision"):
        wide = node.dtype("softmax_precision")
    scale = math.sqrt(node.number("scale", 0.0) or 1.0 / math.sqrt(q.shape[-1]))
    k, v = (_repeated(each, q.shape[1]) for each in (k, v))
    scores = _modified(node, "score_mod", ((q * scale) @ (k * scale).transpose()).cast(wide))
    weights = _modified(node, "prob_mod", node.emit("Softmax", scores, axis=-1))
    return (weights @ v.cast(wide)).cast(v.dtype)


def _modified(node: Node, name: str, x: Symbol) -> Symbol:
    if not node.has(name):
        return x
    graph = node.attribute(name)
    assert isinstance(graph, Graph)
    (only,) = graph.inputs
    return node.importer.graph(graph, {**node.scope, only: x})[0].cast(x.dtype)


@onnx_op("RotaryEmbedding")
def rotary_embedding(node: Node) -> Results:
    x, cos, sin, places = node[0], node[1], node[2], node.get(3)
    flat = len(x.shape) == 3
    heads = _heads(x, node.integer("num_heads", 0))
    size = node.integer("rotary_embedding_dim", 0) or heads.shape[-1]
    tables = [
        each if places is None else node.emit("Gather", each, places, axis=0) for each in (cos, sin)
    ]
    batch, length, half = tables[0].shape
    shaped = [each.reshape(batch, 1, length, half) for each in tables]
    shape = (batch, heads.shape[1], length, half)
    turned = node.emit(
        "Rope",
        heads.emit("Slice", axis=3, start=0, stop=size),
        *(each.expand(*shape) for each in shaped),
        interleaved=bool(node.integer("interleaved", 0)),
    )
    if size < heads.shape[-1]:
        rest = heads.emit("Slice", axis=3, start=size, stop=heads.shape[-1])
        turned = node.emit("Concat", turned, rest, axis=3)
    return turned.permute(0, 2, 1, 3).reshape(*x.shape) if flat else turned


@onnx_op("LinearAttention")
def linear_attention(node: Node) -> Results:
    """The recurrence, one step after the other, in float32."""
    heads, kv_heads = node.integer("q_num_heads"), node.integer("kv_num_heads")
    rule = node.text("update_rule", "gated_delta")
    q = _heads(node[0].cast(DType.float32), heads)
    k, v = (_heads(node[index].cast(DType.float32), kv_heads) for index in (1, 2))
    batch, _, length, size = q.shape
    scale = node.number("scale", 0.0) or 1.0 / math.sqrt(size)
    past = node.get(3)
    kept = node[0].dtype if past is None else past.dtype
    if past is None:
        state = node.zeros((batch, kv_heads, size, v.shape[-1]), q)
    else:
        state = past.cast(DType.float32)
    decay = beta = None
    if "gated" in rule:
        decay = node.emit("Exp", _heads(node[4].cast(DType.float32), kv_heads))
    if "delta" in rule:
        beta = _heads(node[5].cast(DType.float32), node[5].shape[-1])
    outputs: list[Symbol] = []
    for step in range(length):
        cut = {"axis": 2, "start": step, "stop": step + 1}
        key, value, query = (node.emit("Slice", each, **cut) for each in (k, v, q))
        if decay is not None:
            state = state * node.emit("Slice", decay, **cut).transpose()
        if beta is not None:
            value = (value - key @ state) * node.emit("Slice", beta, **cut)
        state = state + key.transpose() @ value
        outputs.append((query * scale) @ _repeated(state, heads))
    y = node.emit("Concat", *outputs, axis=2).permute(0, 2, 1, 3)
    return y.reshape(batch, length, y.shape[2] * y.shape[3]).cast(node[0].dtype), state.cast(kept)
