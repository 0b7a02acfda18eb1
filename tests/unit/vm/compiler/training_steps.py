"""Whole training steps, each as one program: forward, loss, gradients, clipping, AdamW.

Every parameter `p` comes with its moments `m.p` and `v.p`; outputs of the same names are the next
ones. `b1t` and `b2t` are the running powers of beta.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bcai.vm.compiler.differentiate import gradients
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

BATCH, CLASSES, LENGTH, WIDTH, HEADS, VOCABULARY = 5, 4, 6, 8, 2, 11
LEARNING_RATE, MAX_NORM, DECAY = 0.01, 0.5, 0.02
Shapes = dict[str, tuple[int, ...]]
Loss = Callable[[Mapping[str, Symbol]], Symbol]


@dataclass(frozen=True, slots=True)
class Model:
    """Input types, shapes of the parameters, and the loss."""

    inputs: dict[str, str]
    shapes: Shapes
    loss: Loss


def write_step(model: Model) -> VerifiedProgram:
    """The whole step in float64; outputs `loss`, `d.<p>`, and the next state by its own names."""
    builder = Builder()
    known = {name: builder.input(name, type_) for name, type_ in model.inputs.items()}
    lr = builder.input("lr", "float64[]")
    powers = [builder.parameter(name, "float64[]") for name in ("b1t", "b2t")]
    for name, shape in model.shapes.items():
        text = f"float64[{','.join(map(str, shape))}]"
        for key in (name, f"m.{name}", f"v.{name}"):
            known[key] = builder.parameter(key, text)
    loss = model.loss(known)
    found = gradients(loss, [known[name] for name in model.shapes])
    clipped = builder.emit("ClipNorm", found, {"max_norm": MAX_NORM})
    powers = builder.emit("AdamPowers", powers, {})
    outputs = {"loss": loss, "b1t": powers[0], "b2t": powers[1]}
    for name, raw, gradient in zip(model.shapes, found, clipped, strict=True):
        state = [known[name], gradient, known[f"m.{name}"], known[f"v.{name}"]]
        results = builder.emit("AdamStep", [*state, *powers, lr], {"weight_decay": DECAY})
        keys = (name, f"m.{name}", f"v.{name}")
        outputs |= dict(zip(keys, results, strict=True)) | {f"d.{name}": raw}
    return builder.finish(**outputs)


def first_values(model: Model, seed: int = 0) -> dict[str, Array]:
    """Inputs, parameters and a state of zeros."""
    random = np.random.default_rng(seed)
    values: dict[str, Array] = {"lr": np.asarray(LEARNING_RATE)}
    values |= {name: np.ones(()) for name in ("b1t", "b2t")}
    for name, text in model.inputs.items():
        sizes = text.partition("[")[2].rstrip("]")
        shape = tuple(int(each) for each in sizes.split(","))
        if text.startswith("int64"):
            values[name] = np.asarray(random.integers(0, CLASSES, shape))
        else:
            values[name] = random.normal(size=shape)
    for name, shape in model.shapes.items():
        values[name] = random.normal(size=shape) * 0.4 + name.endswith("norm.weight")
        values |= {f"m.{name}": np.zeros(shape), f"v.{name}": np.zeros(shape)}
    return values


def _mlp(at: Mapping[str, Symbol]) -> Symbol:
    hidden = at["x"].emit("Linear", at["0.weight"], at["0.bias"]).emit("Gelu")
    logits = hidden.emit("Linear", at["1.weight"], at["1.bias"])
    return logits.emit("CrossEntropy", at["target"], label_smoothing=0.1)


def _cnn(at: Mapping[str, Symbol]) -> Symbol:
    geometry = {"padding_before": (1, 1), "padding_after": (1, 1), "dilation": (1, 1)}
    first = at["x"].emit("Conv", at["conv1.weight"], at["conv1.bias"], stride=(1, 1), **geometry)
    pooled = first.emit("Relu").emit("MaxPool", **_halves())
    second = pooled.emit("Conv", at["conv2.weight"], at["conv2.bias"], stride=(2, 2), **geometry)
    normal = second.emit("GroupNorm", at["norm.weight"], at["norm.bias"], groups=2).emit("Silu")
    features = normal.emit("AdaptiveAvgPool", output=(1, 1)).reshape(BATCH, 4)
    logits = features.emit("Linear", at["head.weight"], at["head.bias"])
    return logits.emit("CrossEntropy", at["target"])


def _halves() -> dict[str, tuple[int, ...]]:
    zero = (0, 0)
    size = {"kernel": (2, 2), "stride": (2, 2), "dilation": (1, 1)}
    return size | {"padding_before": zero, "padding_after": zero}


def _transformer(at: Mapping[str, Symbol]) -> Symbol:
    x = at["embedding.weight"].emit("Embedding", at["tokens"]) + at["positions"]
    normal = x.emit("LayerNorm", at["ln1_norm.weight"], at["ln1.bias"])
    qkv = normal.emit("Linear", at["qkv.weight"], at["qkv.bias"])
    heads = qkv.reshape(BATCH, LENGTH, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
    q, k, v = (heads.emit("Select", axis=0, index=index) for index in range(3))
    mixed = q.emit("Attention", k, v, causal=True).permute(0, 2, 1, 3)
    x = x + mixed.reshape(BATCH, LENGTH, WIDTH).emit("Linear", at["out.weight"], at["out.bias"])
    normal = x.emit("LayerNorm", at["ln2_norm.weight"], at["ln2.bias"])
    wide = normal.emit("Linear", at["up.weight"], at["up.bias"]).emit("Gelu", approximate="tanh")
    x = x + wide.emit("Linear", at["down.weight"], at["down.bias"])
    logits = x.emit("Linear", at["embedding.weight"]).permute(0, 2, 1)
    return logits.emit("CrossEntropy", at["target"])


def _lstm(at: Mapping[str, Symbol]) -> Symbol:
    x = at["x"]
    zeros = {"shape": (1, BATCH, WIDTH), "value": 0.0, "dtype": x.dtype}
    state = x.builder.emit("Full", (), zeros)[0]
    weights = [at[f"lstm.{name}"] for name in ("w_ih", "w_hh", "b_ih", "b_hh")]
    y = x.emit("Lstm", state, state, *weights, hidden=WIDTH, batch_first=True)
    logits = y[:, -1].emit("Linear", at["head.weight"], at["head.bias"])
    return logits.emit("CrossEntropy", at["target"])


def _affine(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


MODELS = {
    "mlp": Model(
        {"x": f"float64[{BATCH},9]", "target": f"int64[{BATCH}]"},
        _affine("0", 7, 9) | _affine("1", CLASSES, 7),
        _mlp,
    ),
    "cnn": Model(
        {"x": f"float64[{BATCH},2,6,6]", "target": f"int64[{BATCH}]"},
        {"conv1.weight": (3, 2, 3, 3), "conv1.bias": (3,)}
        | {"conv2.weight": (4, 3, 3, 3), "conv2.bias": (4,)}
        | {"norm.weight": (4,), "norm.bias": (4,)}
        | _affine("head", CLASSES, 4),
        _cnn,
    ),
    "transformer": Model(
        {"tokens": f"int64[{BATCH},{LENGTH}]", "target": f"int64[{BATCH},{LENGTH}]"},
        {"embedding.weight": (VOCABULARY, WIDTH), "positions": (LENGTH, WIDTH)}
        | {"ln1_norm.weight": (WIDTH,), "ln1.bias": (WIDTH,)}
        | _affine("qkv", 3 * WIDTH, WIDTH)
        | _affine("out", WIDTH, WIDTH)
        | {"ln2_norm.weight": (WIDTH,), "ln2.bias": (WIDTH,)}
        | _affine("up", 2 * WIDTH, WIDTH)
        | _affine("down", WIDTH, 2 * WIDTH),
        _transformer,
    ),
    "lstm": Model(
        {"x": f"float64[{BATCH},{LENGTH},3]", "target": f"int64[{BATCH}]"},
        {"lstm.w_ih": (4 * WIDTH, 3), "lstm.w_hh": (4 * WIDTH, WIDTH)}
        | {"lstm.b_ih": (4 * WIDTH,), "lstm.b_hh": (4 * WIDTH,)}
        | _affine("head", CLASSES, WIDTH),
        _lstm,
    ),
}
