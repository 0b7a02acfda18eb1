"""Recurrent layers: LSTM, GRU and plain, over layers and directions, unrolled over time.

Note [Order of a recurrence]
    For each layer, and in it for each direction, `Linear(x, w_ih, b_ih)` of all steps is one
    contraction over rows (t, b). Step by step, `Linear(h, w_hh, b_hh)` is added to it:
    `(x W + b_ih) + (h W + b_hh)`. Backwards, the gradients of the steps' sums are stacked by
    ascending t; those of the weights are one contraction over the rows (t, b), and those of the
    biases one `Sum` over them, not sums of what each step would give. The reverse direction
    starts at the last step, and its rows stand in ascending t as well.
"""

from typing import Any, Literal

import numpy as np

from bcai.vm.isa.op import Bound, Call, Gradients, Types, case, instruction, types_of
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import FLOATS, Array, TensorType
from bcai.vm.isa.unrolled import Cell, Gru, Lstm, Rnn, layers_gradient, run_layers, stacked_type
from bcai.vm.isa.widened import widened, widened_gradient

_RECURRENT = Bound(ulp=16, terms_ulp=8)
"""Each step's roundings pass through the next ones."""

_ONE = {"hidden": 2, "layers": 1, "bidirectional": False, "batch_first": False, "bias": True}
_BOTH = {"hidden": 2, "layers": 2, "bidirectional": True, "batch_first": True, "bias": False}


def _weight_texts(gates: int, features: int, layers: int, directions: int, bias: bool) -> list[str]:
    """Types of the weights of a layer stack with 2 hidden features."""
    texts: list[str] = []
    for layer in range(layers):
        inner = features if layer == 0 else 2 * directions
        for _ in range(directions):
            texts += [f"float32[{2 * gates},{inner}]", f"float32[{2 * gates},2]"]
            texts += [f"float32[{2 * gates}]"] * 2 if bias else []
    return texts


def _cases(gates: int, states: int, **more: str) -> dict[str, Any]:
    """Cases that must pass and must fail, of an instruction with so many gates and states."""
    one = ["float32[1,3,2]"] * states
    weights = _weight_texts(gates, 5, 1, 1, True)
    both = ["float32[4,2,2]"] * states
    deep = _weight_texts(gates, 3, 2, 2, False)
    return {
        "accepts": (
            case("float32[4,3,5]", *one, *weights, **_ONE, **more),
            case("float32[2,3,3]", *both, *deep, **_BOTH, **more),
        ),
        "rejects": (
            case("float32[4,3,5]", *one, *weights[:-1], **_ONE, **more),
            case("float32[4,3,6]", *one, *weights, **_ONE, **more),
            case("float32[4,2,5]", *one, *weights, **_ONE, **more),
            case("float32[0,3,5]", *one, *weights, **_ONE, **more),
            case("float32[4,3,5]", *one, *weights, **(_ONE | {"layers": 2}), **more),
            case("float32[4,3,5]", *one, *weights, **(_ONE | {"hidden": 0}), **more),
        ),
    }


def _lstm(
    x: TensorType, h0: TensorType, c0: TensorType, *weights: TensorType, **attributes: Any
) -> Types:
    return stacked_type(4, x, (h0, c0), weights, **attributes)


@instruction(
    opcode=0x07C0,
    dtypes=FLOATS,
    bound=_RECURRENT,
    types=types_of(_lstm, **_cases(4, 2)),
)
def lstm(
    x: Array,
    h0: Array,
    c0: Array,
    *weights: Array,
    hidden: int,
    layers: int = 1,
    bidirectional: bool = False,
    batch_first: bool = False,
    bias: bool = True,
) -> tuple[Array, ...]:
    """Long short-term memory: the outputs of all steps, and the last `h` and `c`.

    `x` is `T[steps, batch, features]`, or `T[batch, steps, features]` if `batch_first`; `h0` and
    `c0` are `T[layers * directions, batch, hidden]`. For every layer, and in it for every
    direction, stand `w_ih` `T[4 hidden, features]`, `w_hh` `T[4 hidden, hidden]` and, with `bias`,
    `b_ih` and `b_hh`; gates are in the order i, f, g, o. With s the sums of Note [Order of a
    recurrence]: `c' = Fma(Sigmoid(s_f), c, Sigmoid(s_i) * Tanh(s_g))`, `h' = Sigmoid(s_o) *
    Tanh(c')`. Both directions' outputs stand side by side in the last axis.

    Source: Hochreiter and Schmidhuber, Neural Computation 9, 1997; `torch.nn.LSTM`.
    """

    def step(x: Array, h: Array, states: tuple[Array, ...]) -> tuple[Array, ...]:
        i, f, g, o = np.split(x + h, 4, -1)
        c = _sigmoid(f) * states[1] + _sigmoid(i) * np.tanh(g)
        return _sigmoid(o) * np.tanh(c), c

    return _stack_array(step, x, (h0, c0), weights, layers, bidirectional, batch_first, bias)


def _gru(x: TensorType, h0: TensorType, *weights: TensorType, **attributes: Any) -> Types:
    return stacked_type(3, x, (h0,), weights, **attributes)


@instruction(
    opcode=0x07C1,
    dtypes=FLOATS,
    bound=_RECURRENT,
    types=types_of(_gru, **_cases(3, 1)),
)
def gru(
    x: Array,
    h0: Array,
    *weights: Array,
    hidden: int,
    layers: int = 1,
    bidirectional: bool = False,
    batch_first: bool = False,
    bias: bool = True,
) -> tuple[Array, ...]:
    """Gated recurrent unit: the outputs of all steps, and the last `h`.

    Operands as those of `Lstm`, with three gates r, z, n and no `c0`. With p the input's product
    (`x W + b_ih`) and q the state's (`h W + b_hh`): `r = Sigmoid(p_r + q_r)`, `z = Sigmoid(p_z +
    q_z)`, `n = Tanh(p_n + r * q_n)`, `h' = Fma(z, h - n, n)`.

    Source: arXiv:1406.1078, `torch.nn.GRU`.
    """

    def step(x: Array, h: Array, states: tuple[Array, ...]) -> tuple[Array, ...]:
        (x_r, x_z, x_n), (h_r, h_z, h_n) = np.split(x, 3, -1), np.split(h, 3, -1)
        r, z = _sigmoid(x_r + h_r), _sigmoid(x_z + h_z)
        n = np.tanh(x_n + r * h_n)
        return ((1 - z) * n + z * states[0],)

    return _stack_array(step, x, (h0,), weights, layers, bidirectional, batch_first, bias)


def _rnn(
    x: TensorType, h0: TensorType, *weights: TensorType, nonlinearity: str, **attributes: Any
) -> Types:
    del nonlinearity
    return stacked_type(1, x, (h0,), weights, **attributes)


@instruction(
    opcode=0x07C2,
    dtypes=FLOATS,
    bound=_RECURRENT,
    types=types_of(_rnn, **_cases(1, 1, nonlinearity="tanh")),
)
def rnn(
    x: Array,
    h0: Array,
    *weights: Array,
    hidden: int,
    layers: int = 1,
    bidirectional: bool = False,
    batch_first: bool = False,
    bias: bool = True,
    nonlinearity: Literal["tanh", "relu"] = "tanh",
) -> tuple[Array, ...]:
    """Plain recurrent layer: the outputs of all steps, and the last `h`.

    Operands as those of `Lstm`, with one gate and no `c0`: `h' = Tanh(s)`, or `Max(s, 0)`.
    Source: Elman, Cognitive Science 14, 1990; `torch.nn.RNN`.
    """

    def step(x: Array, h: Array, states: tuple[Array, ...]) -> tuple[Array, ...]:
        del states
        return (np.tanh(x + h) if nonlinearity == "tanh" else np.maximum(x + h, 0),)

    return _stack_array(step, x, (h0,), weights, layers, bidirectional, batch_first, bias)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _stack_array(
    step: Any,
    x: Array,
    first: tuple[Array, ...],
    weights: tuple[Array, ...],
    layers: int,
    bidirectional: bool,
    batch_first: bool,
    bias: bool,
) -> tuple[Array, ...]:
    """Run all layers and directions, in plain NumPy."""
    y = x.swapaxes(0, 1) if batch_first else x
    directions, per = 1 + bidirectional, 4 if bias else 2
    last: list[tuple[Array, ...]] = []
    for layer in range(layers):
        sides: list[Array] = []
        for direction in range(directions):
            at = layer * directions + direction
            w_ih, w_hh, *biases = weights[at * per : at * per + per]
            b_ih, b_hh = biases or (0, 0)
            states = tuple(each[at] for each in first)
            outputs: dict[int, Array] = {}
            for t in reversed(range(len(y))) if direction else range(len(y)):
                states = step(y[t] @ w_ih.T + b_ih, states[0] @ w_hh.T + b_hh, states)
                outputs[t] = states[0]
            sides.append(np.stack([outputs[t] for t in range(len(y))]))
            last.append(states)
        y = np.concatenate(sides, -1)
    stacked = (np.stack(each) for each in zip(*last, strict=True))
    return (y.swapaxes(0, 1) if batch_first else y, *stacked)


@lstm.lowering
@widened
def _(call: Call) -> tuple[Symbol, ...]:
    return run_layers(Lstm(), call)


@lstm.gradient
@widened_gradient
def _(call: Call) -> Gradients:
    return layers_gradient(Lstm(), call)


@gru.lowering
@widened
def _(call: Call) -> tuple[Symbol, ...]:
    return run_layers(Gru(), call)


@gru.gradient
@widened_gradient
def _(call: Call) -> Gradients:
    return layers_gradient(Gru(), call)


def _plain(call: Call) -> Cell:
    return Rnn(call.attributes["nonlinearity"] == "tanh")


@rnn.lowering
@widened
def _(call: Call) -> tuple[Symbol, ...]:
    return run_layers(_plain(call), call)


@rnn.gradient
@widened_gradient
def _(call: Call) -> Gradients:
    return layers_gradient(_plain(call), call)


OPS = (lstm, gru, rnn)
