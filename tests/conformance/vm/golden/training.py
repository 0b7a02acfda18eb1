"""Twenty steps of training small models: everything that an instruction set is for, in one number.

Sizes are odd on purpose, so that no vector and no tile fits. First values and batches are made of
whole numbers, since a library's normal distribution may differ in its last bit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np

from bcai.vm.compiler.training_step import AdamW, Optimizer, Sgd, TrainingStep, training_step
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.program.builder import Builder

STEPS = 20
CLASSES = 10


Symbols = Mapping[str, Symbol]


@dataclass(frozen=True, slots=True)
class Model:
    """A forward pass, what it is fed, and how it is trained.

    Attributes
    ----------
    inputs, parameters
        Types by name, one a line.
    forward
        Writes the outputs, of which one is the loss.
    """

    name: str
    inputs: str
    parameters: str
    forward: Callable[[Symbols], Symbols]
    optimizer: Optimizer
    max_norm: float | None = None

    def step(self) -> TrainingStep:
        """One step of training, as a program."""
        return _step(self)


@cache
def _step(model: Model) -> TrainingStep:
    builder, ports = Builder(), dict[str, Symbol]()
    for lines, declare in ((model.inputs, builder.input), (model.parameters, builder.parameter)):
        for line in lines.split():
            name, _, type_ = line.partition(":")
            ports[name] = declare(name, type_)
    forward = builder.finish(**model.forward(ports))
    return training_step(forward, model.optimizer, max_norm=model.max_norm)


def fractions(type_: TensorType, seed: int) -> Array:
    """Multiples of 2^-16 in [-1/4, 1/4); labels in [0, `CLASSES`) if the type is an integer."""
    random = np.random.default_rng(seed)
    if not type_.dtype.is_float:
        return random.integers(0, CLASSES, type_.shape).astype(type_.dtype.numpy)
    whole = random.integers(-(1 << 14), 1 << 14, type_.shape)
    return (whole * 2.0**-16).astype(type_.dtype.numpy)


def train(model: Model, run: Callable[[Mapping[str, Array]], Mapping[str, Array]]) -> list[Array]:
    """The losses, and all parameters and states after the last step; `run` does a step."""
    step = model.step()
    ports = step.program.program
    state = {
        port.name: step.first_state.get(port.name, fractions(port.type, 100 + at))
        for at, port in enumerate(ports.parameters)
    }
    losses: list[Array] = []
    for number in range(STEPS):
        batch = {
            port.name: fractions(port.type, 1000 * number + at)
            for at, port in enumerate(ports.inputs)
        }
        batch["learning_rate"] = np.asarray(2.0**-6, np.float32)
        found = run({**batch, **state})
        state = {name: found.get(name, state[name]) for name in state}
        losses.append(np.asarray(found["loss"]))
    return [np.stack(losses), *(state[name] for name in sorted(state))]


def _linear(x: Symbol, ports: Symbols, name: str) -> Symbol:
    return x.emit("Linear", ports[f"{name}.weight"], ports[f"{name}.bias"])


def _norm(x: Symbol, ports: Symbols, name: str) -> Symbol:
    return x.emit("LayerNorm", ports[f"{name}.weight"], ports[f"{name}.bias"])


def _loss(logits: Symbol, ports: Symbols, smoothing: float = 0.0) -> Symbol:
    return logits.emit("CrossEntropy", ports["target"], label_smoothing=smoothing)


def _mlp(p: Symbols) -> Symbols:
    x = _linear(p["x"], p, "first").emit("Gelu")
    x = x.emit("Dropout", p["seed"], p["step"], p=0.25, stream=3)
    x = _linear(x, p, "second").emit("Tanh")
    return {"loss": _loss(_linear(x, p, "last"), p)}


def _cnn(p: Symbols) -> Symbols:
    x = p["x"].emit("Conv", p["first"], **_plane(padding=1))
    operands = (x, p["weight"], p["bias"], p["mean"], p["variance"])
    x, mean, variance = x.builder.emit("BatchNormTrain", operands, {})
    x = x.emit("Relu").emit("MaxPool", kernel=(2, 2), **_plane(stride=2))
    x = x.emit("Conv", p["second"], **_plane(stride=2)).emit("Silu")
    x = x.emit("Mean", axes=(2, 3), keepdims=False)
    return {"loss": _loss(_linear(x, p, "last"), p), "mean": mean, "variance": variance}


def _plane(stride: int = 1, padding: int = 0) -> dict[str, Any]:
    return {
        "stride": (stride, stride),
        "padding_before": (padding, padding),
        "padding_after": (padding, padding),
        "dilation": (1, 1),
    }


def _transformer(p: Symbols) -> Symbols:
    x = p["words"].emit("Gather", p["ids"], axis=0) + p["places"]
    h = _norm(x, p, "norm1")
    query, key, value = (
        _linear(h, p, name).reshape(3, 11, 3, 7).transpose(1, 2)
        for name in ("query", "key", "value")
    )
    mixed = query.emit("Attention", key, value, causal=True).transpose(1, 2)
    x = x + _linear(mixed.reshape(3, 11, 21), p, "mixed")
    h = _linear(_norm(x, p, "norm2"), p, "wide").emit("Gelu", approximate="tanh")
    x = x + _linear(h, p, "narrow")
    logits = _linear(_norm(x, p, "norm3"), p, "last")
    return {"loss": _loss(logits.transpose(1, 2), p, smoothing=0.125)}


def _lstm(p: Symbols) -> Symbols:
    zero = {"shape": (1, 5, 11), "value": 0.0, "dtype": DType.float32}
    builder = p["x"].builder
    (state,) = builder.emit("Full", (), zero)
    weights = (p[f"w{at}"] for at in range(4))
    options = {"hidden": 11, "batch_first": True}
    y = builder.emit("Lstm", (p["x"], state, state, *weights), options)[0]
    return {"loss": _loss(_linear(y[:, -1], p, "last"), p)}


_MODELS = (
    Model(
        "mlp",
        "x:float32[33,19] target:int64[33] seed:int64[] step:int64[]",
        """
        first.weight:float32[65,19] first.bias:float32[65]
        second.weight:float32[47,65] second.bias:float32[47]
        last.weight:float32[10,47] last.bias:float32[10]
        """,
        _mlp,
        AdamW(),
    ),
    Model(
        "cnn",
        "x:float32[5,3,13,11] target:int64[5]",
        """
        first:float32[7,3,3,3] second:float32[9,7,3,3]
        weight:float32[7] bias:float32[7] mean:float32[7] variance:float32[7]
        last.weight:float32[10,9] last.bias:float32[10]
        """,
        _cnn,
        Sgd(momentum=0.875, nesterov=True, weight_decay=2.0**-10),
    ),
    Model(
        "transformer",
        "ids:int64[3,11] target:int64[3,11]",
        """
        words:float32[17,21] places:float32[11,21]
        norm1.weight:float32[21] norm1.bias:float32[21]
        query.weight:float32[21,21] query.bias:float32[21]
        key.weight:float32[21,21] key.bias:float32[21]
        value.weight:float32[21,21] value.bias:float32[21]
        mixed.weight:float32[21,21] mixed.bias:float32[21]
        norm2.weight:float32[21] norm2.bias:float32[21]
        wide.weight:float32[84,21] wide.bias:float32[84]
        narrow.weight:float32[21,84] narrow.bias:float32[21]
        norm3.weight:float32[21] norm3.bias:float32[21]
        last.weight:float32[10,21] last.bias:float32[10]
        """,
        _transformer,
        AdamW(weight_decay=2.0**-7),
        max_norm=1.0,
    ),
    Model(
        "lstm",
        "x:float32[5,6,7] target:int64[5]",
        """
        w0:float32[44,7] w1:float32[44,11] w2:float32[44] w3:float32[44]
        last.weight:float32[10,11] last.bias:float32[10]
        """,
        _lstm,
        AdamW(decoupled=False),
    ),
)
MODELS: Mapping[str, Model] = MappingProxyType({each.name: each for each in _MODELS})
