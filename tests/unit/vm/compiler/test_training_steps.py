"""Whole training steps against torch in float64, and their gradients against differences."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from tests.unit.vm.compiler.training_steps import (
    BATCH,
    DECAY,
    HEADS,
    LEARNING_RATE,
    LENGTH,
    MAX_NORM,
    MODELS,
    WIDTH,
    Model,
    first_values,
    write_step,
)

from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.compiler.expand import expand
from bcai.vm.compiler.simplify import simplify
from bcai.vm.isa.types import Array

torch: Any = pytest.importorskip("torch", reason="needs the extra `ml`")
F: Any = pytest.importorskip("torch.nn.functional", reason="needs the extra `ml`")
REFERENCE = ReferenceInterpreter()
STEPS = 3
NAMES = [pytest.param(name, id=name) for name in MODELS]


def mlp(at: Mapping[str, Any]) -> Any:
    hidden = F.gelu(F.linear(at["x"], at["0.weight"], at["0.bias"]))
    logits = F.linear(hidden, at["1.weight"], at["1.bias"])
    return F.cross_entropy(logits, at["target"], label_smoothing=0.1)


def cnn(at: Mapping[str, Any]) -> Any:
    x = F.relu(F.conv2d(at["x"], at["conv1.weight"], at["conv1.bias"], padding=1))
    x = F.conv2d(F.max_pool2d(x, 2), at["conv2.weight"], at["conv2.bias"], stride=2, padding=1)
    x = F.silu(F.group_norm(x, 2, at["norm.weight"], at["norm.bias"])).mean((2, 3))
    return F.cross_entropy(F.linear(x, at["head.weight"], at["head.bias"]), at["target"])


def transformer(at: Mapping[str, Any]) -> Any:
    x = F.embedding(at["tokens"], at["embedding.weight"]) + at["positions"]
    normal = F.layer_norm(x, (WIDTH,), at["ln1_norm.weight"], at["ln1.bias"])
    qkv = F.linear(normal, at["qkv.weight"], at["qkv.bias"])
    q, k, v = (each.view(BATCH, LENGTH, HEADS, -1).transpose(1, 2) for each in qkv.chunk(3, dim=-1))
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
    x = x + F.linear(mixed, at["out.weight"], at["out.bias"])
    normal = F.layer_norm(x, (WIDTH,), at["ln2_norm.weight"], at["ln2.bias"])
    wide = F.gelu(F.linear(normal, at["up.weight"], at["up.bias"]), approximate="tanh")
    x = x + F.linear(wide, at["down.weight"], at["down.bias"])
    logits = F.linear(x, at["embedding.weight"])
    return F.cross_entropy(logits.transpose(1, 2), at["target"])


def lstm(at: Mapping[str, Any]) -> Any:
    state = torch.zeros(1, BATCH, WIDTH, dtype=torch.float64)
    weights = [at[f"lstm.{name}"] for name in ("w_ih", "w_hh", "b_ih", "b_hh")]
    y, _, _ = torch.lstm(at["x"], (state, state), weights, True, 1, 0.0, True, False, True)
    return F.cross_entropy(F.linear(y[:, -1], at["head.weight"], at["head.bias"]), at["target"])


TORCH: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "mlp": mlp,
    "cnn": cnn,
    "transformer": transformer,
    "lstm": lstm,
}


@pytest.mark.parametrize("name", NAMES)
def test_steps_equal_torch(name: str) -> None:
    model = MODELS[name]
    program = simplify(write_step(model))
    values = first_values(model)
    tensors = {key: torch.from_numpy(np.array(values[key])) for key in model.inputs}
    parameters = {
        key: torch.from_numpy(values[key].copy()).requires_grad_() for key in model.shapes
    }
    optimizer = torch.optim.AdamW(parameters.values(), lr=LEARNING_RATE, weight_decay=DECAY)
    for _ in range(STEPS):
        found = REFERENCE.run(program, values)
        optimizer.zero_grad()
        loss = TORCH[name](tensors | parameters)
        loss.backward()
        np.testing.assert_allclose(found["loss"], loss.item(), rtol=1e-11)
        for key, each in parameters.items():
            np.testing.assert_allclose(
                found[f"d.{key}"], each.grad.numpy(), rtol=1e-8, atol=1e-11, err_msg=key
            )
        torch.nn.utils.clip_grad_norm_(parameters.values(), MAX_NORM)
        optimizer.step()
        for key, each in parameters.items():
            np.testing.assert_allclose(
                found[key], each.detach().numpy(), rtol=1e-8, atol=1e-10, err_msg=key
            )
        values |= {key: found[key] for key in values if key in found}
        values |= {key: each.detach().numpy().copy() for key, each in parameters.items()}


@pytest.mark.parametrize("name", NAMES)
def test_gradients_match_finite_differences(name: str) -> None:
    model = MODELS[name]
    program = simplify(write_step(model))
    values = first_values(model, seed=3)
    found = REFERENCE.run(program, values)
    random = np.random.default_rng(1)
    direction = {key: random.normal(size=shape) for key, shape in model.shapes.items()}
    step = 1e-6
    sides = [loss_at(model, values, direction, sign * step) for sign in (1.0, -1.0)]
    expected = (sides[0] - sides[1]) / (2 * step)
    measured = sum(float((found[f"d.{key}"] * each).sum()) for key, each in direction.items())
    assert measured == pytest.approx(expected, rel=1e-6, abs=1e-7)


def loss_at(
    model: Model, values: Mapping[str, Array], direction: Mapping[str, Array], step: float
) -> float:
    moved = dict(values) | {key: values[key] + step * each for key, each in direction.items()}
    return float(REFERENCE.run(write_step(model), moved)["loss"])


@pytest.mark.parametrize("name", NAMES)
def test_passes_keep_every_bit(name: str) -> None:
    model = MODELS[name]
    program, values = write_step(model), first_values(model, seed=5)
    expected = REFERENCE.run(program, values)
    expanded = expand(program)
    assert not any(each.op.is_macro for each in expanded.program.instructions)
    for rewritten in (simplify(program), expanded, simplify(expanded)):
        found = REFERENCE.run(rewritten, values)
        assert {key: each.tobytes() for key, each in found.items()} == {
            key: each.tobytes() for key, each in expected.items()
        }
