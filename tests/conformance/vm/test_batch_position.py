"""A sample's result has the same bits wherever it stands in a batch, and in a batch of any size."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bcai.vm.backends.native.backend import NativeBackend, what_is_missing
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array
from bcai.vm.program.builder import Builder

pytestmark = pytest.mark.skipif(bool(what_is_missing()), reason=what_is_missing())
Weights = Callable[[str, str], Symbol]
BATCH = 9
PLAIN_2D = {
    "stride": (1, 1),
    "padding_before": (1, 1),
    "padding_after": (1, 1),
    "dilation": (1, 1),
    "groups": 1,
}


def _perceptron(x: Symbol, weight: Weights) -> Symbol:
    hidden = x.emit("Linear", weight("a", "float32[70,517]"), weight("b", "float32[70]"))
    hidden = hidden.emit("Gelu").emit("LayerNorm", axis=-1)
    return hidden.emit("Linear", weight("c", "float32[10,70]")).emit("LogSoftmax", axis=-1)


def _convolution(x: Symbol, weight: Weights) -> Symbol:
    y = x.emit("Conv", weight("a", "float32[20,5,3,3]"), **PLAIN_2D).emit("Relu")
    window = {"kernel": (2, 2), "stride": (2, 2), "dilation": (1, 1)}
    none = {"padding_before": (0, 0), "padding_after": (0, 0)}
    return y.emit("MaxPool", **window, **none)


def _attention(x: Symbol, weight: Weights) -> Symbol:
    keys = x @ weight("a", "float32[24,24]")
    return x.emit("Attention", keys, x, causal=True)


def _sums(x: Symbol, weight: Weights) -> Symbol:
    return (x * weight("a", "float32[5000]")).sum(-1)


MODELS: dict[str, tuple[Callable[[Symbol, Weights], Symbol], tuple[int, ...]]] = {
    "perceptron": (_perceptron, (517,)),
    "convolution": (_convolution, (5, 13, 11)),
    "attention": (_attention, (17, 24)),
    "sums": (_sums, (5000,)),
}


def _run(name: str, batch: Array, threads: int, cache: Path) -> Array:
    model, _ = MODELS[name]
    builder = Builder()
    text = f"float32[{','.join(map(str, batch.shape))}]"
    x = builder.input("x", text)
    random = np.random.default_rng(1)
    weights: dict[str, Array] = {}
    types = {
        "perceptron": {"a": (70, 517), "b": (70,), "c": (10, 70)},
        "convolution": {"a": (20, 5, 3, 3)},
        "attention": {"a": (24, 24)},
        "sums": {"a": (5000,)},
    }[name]
    symbols: dict[str, Symbol] = {}
    for key, shape in types.items():
        weights[key] = random.normal(size=shape).astype(np.float32)
        symbols[key] = builder.parameter(key, f"float32[{','.join(map(str, shape))}]")

    def weight(key: str, text: str) -> Symbol:
        assert str(symbols[key].type) == text
        return symbols[key]

    program = builder.finish(y=model(x, weight))
    backend = NativeBackend(threads=threads, cache=cache)
    return backend.compile(program).run({"x": batch, **weights})["y"]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_the_place_in_a_batch_decides_nothing(name: str, threads: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    samples = random.normal(size=(BATCH, *MODELS[name][1])).astype(np.float32)
    together = _run(name, samples, threads, tmp_path)
    order = random.permutation(BATCH)
    assert _run(name, samples[order], threads, tmp_path).tobytes() == together[order].tobytes()
    for place in (0, BATCH - 1):
        alone = _run(name, samples[place : place + 1], threads, tmp_path)
        assert alone[0].tobytes() == together[place].tobytes()
