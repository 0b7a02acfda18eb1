"""The training steps of `models.py` in JAX: `jit` of value, gradient and optax's AdamW.

Weights start at random: the benches compare time, and the tests of the backend compare values.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from models import LENGTH, WORDS

Parameters = Any


def _linear(key: int, inner: int, outer: int) -> Parameters:
    random = np.random.default_rng(key)
    bound = inner**-0.5
    return {
        "w": jnp.asarray(random.uniform(-bound, bound, (inner, outer)), jnp.float32),
        "b": jnp.zeros(outer, jnp.float32),
    }


def _apply(layer: Parameters, x: Any) -> Any:
    return x @ layer["w"] + layer["b"]


def _mlp() -> tuple[Parameters, Callable[..., Any]]:
    layers = [_linear(i, *sizes) for i, sizes in enumerate(((64, 128), (128, 128), (128, 10)))]

    def forward(layers: Parameters, x: Any) -> Any:
        for layer in layers[:-1]:
            x = jax.nn.relu(_apply(layer, x))
        return _apply(layers[-1], x)

    return layers, forward


def _cnn() -> tuple[Parameters, Callable[..., Any]]:
    random = np.random.default_rng(0)
    kernels = [
        jnp.asarray(random.normal(size=shape) * 0.1, jnp.float32)
        for shape in ((32, 1, 3, 3), (64, 32, 3, 3))
    ]
    biases = [jnp.zeros((each, 1, 1), jnp.float32) for each in (32, 64)]
    parameters = {
        "k": kernels,
        "b": biases,
        "l": [_linear(1, 3136, 128), _linear(2, 128, 10)],
    }

    def forward(p: Parameters, x: Any) -> Any:
        for kernel, bias in zip(p["k"], p["b"], strict=True):
            x = jax.nn.relu(jax.lax.conv(x, kernel, (1, 1), "SAME") + bias)
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        x = jax.nn.relu(_apply(p["l"][0], x.reshape(x.shape[0], -1)))
        return _apply(p["l"][1], x)

    return parameters, forward


def _norm(x: Any, p: Parameters) -> Any:
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5) * p["w"] + p["b"]


def _transformer(size: int = 256, heads: int = 4) -> tuple[Parameters, Callable[..., Any]]:
    def norm() -> Parameters:
        return {"w": jnp.ones(size, jnp.float32), "b": jnp.zeros(size, jnp.float32)}

    random = np.random.default_rng(0)
    layers = [
        {
            "n1": norm(),
            "n2": norm(),
            "qkv": _linear(4 * i, size, 3 * size),
            "out": _linear(4 * i + 1, size, size),
            "up": _linear(4 * i + 2, size, 4 * size),
            "down": _linear(4 * i + 3, 4 * size, size),
        }
        for i in range(4)
    ]
    parameters = {
        "words": jnp.asarray(random.normal(size=(WORDS, size)), jnp.float32),
        "places": jnp.asarray(random.normal(size=(LENGTH, size)), jnp.float32),
        "layers": layers,
        "norm": norm(),
        "head": _linear(99, size, WORDS)["w"],
    }
    seen = np.tri(LENGTH, dtype=bool)

    def forward(p: Parameters, ids: Any) -> Any:
        batch, length = ids.shape
        x = p["words"][ids] + p["places"][:length]
        for layer in p["layers"]:
            cut = _apply(layer["qkv"], _norm(x, layer["n1"])).reshape(batch, length, 3, heads, -1)
            q, k, v = (cut[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
            scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(size // heads)
            weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), -1)
            y = (weights @ v).transpose(0, 2, 1, 3).reshape(batch, length, size)
            x = x + _apply(layer["out"], y)
            up = jax.nn.gelu(_apply(layer["up"], _norm(x, layer["n2"])), approximate=False)
            x = x + _apply(layer["down"], up)
        return _norm(x, p["norm"]) @ p["head"]

    return parameters, forward


def _lstm() -> tuple[Parameters, Callable[..., Any]]:
    parameters = {
        "x": _linear(0, 64, 1024),
        "h": _linear(1, 256, 1024),
        "head": _linear(2, 256, 10),
    }

    def forward(p: Parameters, x: Any) -> Any:
        products = _apply(p["x"], x).transpose(1, 0, 2)

        def step(states: Any, product: Any) -> Any:
            h, c = states
            i, f, g, o = jnp.split(product + _apply(p["h"], h), 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

        zeros = jnp.zeros((x.shape[0], 256), jnp.float32)
        (h, _), _ = jax.lax.scan(step, (zeros, zeros), products)
        return _apply(p["head"], h)

    return parameters, forward


_MODELS = {"mlp": _mlp, "cnn": _cnn, "transformer": _transformer, "lstm": _lstm}


def jax_step(name: str, inputs: Any, target: Any, rate: float) -> Callable[[], Any] | None:
    """The step of a work of `models.py`, or None where there is none."""
    make = _MODELS.get(name.partition("-")[0])
    if make is None:
        return None
    parameters, forward = make()
    optimizer: Any = optax.adamw(rate, weight_decay=0.01)
    state = optimizer.init(parameters)

    def loss_of(parameters: Parameters, x: Any, y: Any) -> Any:
        logits = forward(parameters, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @jax.jit
    def step(parameters: Parameters, state: Any, x: Any, y: Any) -> Any:
        loss, found = jax.value_and_grad(loss_of)(parameters, x, y)
        updates, state = optimizer.update(found, state, parameters)
        return loss, optax.apply_updates(parameters, updates), state

    x, y = jnp.asarray(inputs), jnp.asarray(target)

    def run() -> Any:
        nonlocal parameters, state
        loss, parameters, state = step(parameters, state, x, y)
        return jax.block_until_ready(loss)

    return run
