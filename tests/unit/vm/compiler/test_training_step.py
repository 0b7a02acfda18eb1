"""A forward pass becomes a training step that does what PyTorch's optimizers do."""

from typing import Any

import numpy as np
import pytest
import torch as typed_torch

from bcai.base.errors import InputError
from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.compiler.training_step import AdamW, Optimizer, Sgd, training_step
from bcai.vm.isa.types import Array
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

RATE = 0.05
torch: Any = typed_torch


def _forward() -> VerifiedProgram:
    build = Builder()
    x, target = build.input("x", "float32[5,3]"), build.input("target", "float32[5,2]")
    w, b = build.parameter("w", "float32[2,3]"), build.parameter("b", "float32[2]")
    count = build.parameter("count", "float32[]")
    y = x.emit("Linear", w, b)
    return build.finish(loss=y.emit("Mse", target), count=count + 1.0)


@pytest.mark.parametrize(
    ("optimizer", "name", "settings"),
    [
        (AdamW(), "AdamW", {}),
        (AdamW(weight_decay=0.1, decoupled=False), "Adam", {"weight_decay": 0.1}),
        (Sgd(), "SGD", {}),
        (
            Sgd(momentum=0.9, nesterov=True, weight_decay=0.1),
            "SGD",
            {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
        ),
    ],
)
@pytest.mark.parametrize("max_norm", [None, 0.1])
def test_three_steps_are_those_of_torch(
    optimizer: Optimizer, name: str, settings: dict[str, Any], max_norm: float | None
) -> None:
    random = np.random.default_rng(0)
    step = training_step(_forward(), optimizer, max_norm=max_norm)
    given: dict[str, Array] = {
        "x": random.normal(size=(5, 3)).astype(np.float32),
        "target": random.normal(size=(5, 2)).astype(np.float32),
        "learning_rate": np.asarray(RATE, np.float32),
    }
    state: dict[str, Array] = {
        "w": random.normal(size=(2, 3)).astype(np.float32),
        "b": random.normal(size=2).astype(np.float32),
        "count": np.zeros((), np.float32),
        **step.first_state,
    }
    w, b = (torch.tensor(state[name], requires_grad=True) for name in ("w", "b"))
    torch_optimizer = getattr(torch.optim, name)([w, b], lr=RATE, **settings)
    x, target = torch.tensor(given["x"]), torch.tensor(given["target"])
    for _ in range(3):
        found = ReferenceInterpreter().run(step.program, {**given, **state})
        state = {name: found[name] for name in state}
        torch_optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(torch.nn.functional.linear(x, w, b), target)
        loss.backward()
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_([w, b], max_norm)
        torch_optimizer.step()
        np.testing.assert_allclose(found["loss"], loss.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(state["w"], w.detach().numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state["b"], b.detach().numpy(), rtol=1e-4, atol=1e-6)
    assert state["count"] == 3


def test_what_cannot_be_trained_is_named() -> None:
    with pytest.raises(InputError, match="no output 'error'; it has loss, count"):
        training_step(_forward(), AdamW(), loss="error")
    build = Builder()
    x = build.input("x", "float32[2]")
    with pytest.raises(InputError, match="no float parameter"):
        training_step(build.finish(loss=x.sum()), AdamW())
    build = Builder()
    rate, w = build.input("learning_rate", "float32[]"), build.parameter("w", "float32[2]")
    with pytest.raises(InputError, match="already has a 'learning_rate'"):
        training_step(build.finish(loss=(w * rate).sum()), AdamW())


OPTIMIZERS = "expected bcai.AdamW(...), bcai.Sgd(...) or their protocol"


@pytest.mark.parametrize(
    "message",
    [
        "beta1: found 1.0, expected a number from 0 to below 1",
        "beta2: found -0.5, expected a number from 0 to below 1",
        "eps: found -1e-08, expected a number from 0",
        "weight_decay: found nan, expected a number from 0",
        "momentum: found -0.9, expected a number from 0",
        "nesterov: it needs a momentum above 0",
        f"optimizer: found torch.optim.SGD, {OPTIMIZERS}",
        f"optimizer: found str, {OPTIMIZERS}",
        f"optimizer: found type, {OPTIMIZERS}",
        "forward: found Program, expected a VerifiedProgram",
    ],
)
def test_a_wrong_setting_is_named(message: str) -> None:
    builder = Builder()
    w = builder.parameter("w", "float32[2]")
    forward = builder.finish(loss=(w * w).sum())
    wrong: Any = {
        "beta1": lambda: AdamW(beta1=1.0),
        "beta2": lambda: AdamW(beta2=-0.5),
        "eps": lambda: AdamW(eps=-1e-8),
        "weight_decay": lambda: Sgd(weight_decay=float("nan")),
        "momentum": lambda: Sgd(momentum=-0.9),
        "nesterov": lambda: Sgd(nesterov=True),
        "torch.optim.SGD": lambda: training_step(forward, any_(torch.optim.SGD([torch.zeros(1)]))),
        "str": lambda: training_step(forward, any_("adamw")),
        "type": lambda: training_step(forward, any_(AdamW)),
        "Program": lambda: training_step(any_(forward.program), AdamW()),
    }
    field, _, rest = message.partition(": ")
    found = wrong.get(field) or wrong[rest.removeprefix("found ").partition(",")[0]]
    with pytest.raises(InputError) as caught:
        found()
    assert str(caught.value) == message


def test_who_brings_no_program_is_told_where_one_comes_from() -> None:
    with pytest.raises(InputError) as caught:
        training_step(any_("model"), AdamW())
    assert "from_torch" in (caught.value.hint or "")


def any_(value: Any) -> Any:
    """What the types forbid."""
    return value
