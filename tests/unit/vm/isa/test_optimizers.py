"""Optimizer steps against torch in float64, over some steps with changing gradients."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.isa.philox import words
from bcai.vm.isa.types import Array
from bcai.vm.program.builder import Builder

torch: Any = pytest.importorskip("torch", reason="needs the extra `ml`")
REFERENCE = ReferenceInterpreter()
STEPS, SIZE, RATE = 4, 6, 0.05


def steps_of_torch(optimizer: type, gradients: list[Array], start: Array, **options: Any) -> Array:
    parameter = torch.from_numpy(start.copy()).requires_grad_()
    taken = optimizer([parameter], lr=RATE, **options)
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient.copy())
        taken.step()
    return parameter.detach().numpy()


def steps_of_program(name: str, gradients: list[Array], start: Array, **options: Any) -> Array:
    builder = Builder()
    vectors = ("p", "g", "m", "v") if name == "AdamStep" else ("p", "g", "m")
    symbols = [builder.input(each, f"float64[{SIZE}]") for each in vectors]
    scalars = ("b1t", "b2t", "lr") if name == "AdamStep" else ("lr",)
    numbers = [builder.input(each, "float64[]") for each in scalars]
    powers = builder.emit("AdamPowers", numbers[:2], {}) if name == "AdamStep" else ()
    results = builder.emit(name, [*symbols, *powers, numbers[-1]], options)
    outputs = dict(zip(("p", "m", "v"), results, strict=False))
    program = builder.finish(**outputs, **dict(zip(("b1t", "b2t"), powers, strict=False)))
    values: dict[str, Array] = {each: np.zeros(SIZE) for each in vectors} | {"p": start}
    values |= {each: np.ones(()) for each in scalars} | {"lr": np.asarray(RATE)}
    for gradient in gradients:
        values |= REFERENCE.run(program, values | {"g": gradient})
    return values["p"]


@pytest.mark.parametrize(
    ("name", "torch_name", "options", "own"),
    [
        ("SgdStep", "SGD", {}, {}),
        ("SgdStep", "SGD", {"momentum": 0.9}, {}),
        ("SgdStep", "SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, {}),
        ("AdamStep", "AdamW", {"weight_decay": 0.1}, {}),
        ("AdamStep", "Adam", {"weight_decay": 0.1}, {"decoupled": False}),
    ],
)
def test_equals_torch(
    name: str, torch_name: str, options: Mapping[str, Any], own: Mapping[str, Any]
) -> None:
    random = np.random.default_rng(2)
    start, gradients = random.normal(size=SIZE), [random.normal(size=SIZE) for _ in range(STEPS)]
    expected = steps_of_torch(getattr(torch.optim, torch_name), gradients, start, **options)
    found = steps_of_program(name, gradients, start, **options, **own)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_dampened_buffer_starts_at_zero_and_not_at_the_gradient() -> None:
    gradient, start = np.ones(SIZE), np.zeros(SIZE)
    found = steps_of_program("SgdStep", [gradient], start, momentum=0.9, dampening=0.5)
    np.testing.assert_allclose(found, -RATE * 0.5)  # torch's first step would be -RATE


def test_words_are_those_of_the_paper() -> None:
    # Random123, kat_vectors: philox4x32 10, counter and key 0
    expected = [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert words(0, 0, 0, 4).tolist() == expected
