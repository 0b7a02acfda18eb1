"""Recurrent instructions against torch in float64: outputs, and gradients of every operand."""

import itertools

import numpy as np
import pytest
import torch

from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.compiler.differentiate import gradients
from bcai.vm.compiler.expand import expand
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

STEPS, BATCH, FEATURES, HIDDEN = 4, 3, 5, 2
MODULES = {"Lstm": torch.nn.LSTM, "Gru": torch.nn.GRU, "Rnn": torch.nn.RNN}
CONFIGURATIONS = [
    pytest.param(name, layers, bidirectional, batch_first, bias, id=f"{name}-{number}")
    for name in MODULES
    for number, (layers, bidirectional, batch_first, bias) in enumerate(
        itertools.product((1, 2), (False, True), (False, True), (True, False))
    )
]


def write(
    name: str, operands: dict[str, Array], results: tuple[Array, ...], **attributes: object
) -> VerifiedProgram:
    """Program of the results `r0`, ... and of the gradients `d<operand>`, weighted by `w0`, ..."""
    builder = Builder()
    symbols = [builder.input(key, TensorType.of(value)) for key, value in operands.items()]
    weights = [
        builder.input(f"w{index}", TensorType.of(value)) for index, value in enumerate(results)
    ]
    found = builder.emit(name, symbols, attributes)
    parts = [(each * weight).sum() for each, weight in zip(found, weights, strict=True)]
    loss = parts[0]
    for part in parts[1:]:
        loss = loss + part
    pulled = gradients(loss, symbols)
    outputs = {f"r{index}": each for index, each in enumerate(found)}
    outputs |= {f"d{key}": each for key, each in zip(operands, pulled, strict=True)}
    return builder.finish(**outputs)


@pytest.mark.parametrize(("name", "layers", "bidirectional", "batch_first", "bias"), CONFIGURATIONS)
def test_equals_torch(
    name: str, layers: int, bidirectional: bool, batch_first: bool, bias: bool
) -> None:
    torch.manual_seed(3)  # pyright: ignore[reportUnknownMemberType]
    module = MODULES[name](
        FEATURES,
        HIDDEN,
        num_layers=layers,
        bidirectional=bidirectional,
        batch_first=batch_first,
        bias=bias,
    ).double()
    shape = (BATCH, STEPS, FEATURES) if batch_first else (STEPS, BATCH, FEATURES)
    state = (layers * (1 + bidirectional), BATCH, HIDDEN)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    first = [
        torch.randn(state, dtype=torch.float64, requires_grad=True)
        for _ in range(2 if name == "Lstm" else 1)
    ]
    y, last = module(x, tuple(first) if name == "Lstm" else first[0])
    results = (y, *last) if name == "Lstm" else (y, last)
    weights = [torch.randn_like(each) for each in results]
    tensors = [x, *first, *module.parameters()]
    pulled = torch.autograd.grad(results, tensors, weights)

    operands = {str(index): each.detach().numpy() for index, each in enumerate(tensors)}
    expected = {f"r{index}": each.detach().numpy() for index, each in enumerate(results)}
    expected |= {f"d{index}": each.numpy() for index, each in enumerate(pulled)}
    program = write(
        name,
        operands,
        tuple(expected[f"r{index}"] for index in range(len(results))),
        hidden=HIDDEN,
        layers=layers,
        bidirectional=bidirectional,
        batch_first=batch_first,
        bias=bias,
    )
    values = operands | {f"w{index}": each.numpy() for index, each in enumerate(weights)}
    found = ReferenceInterpreter().run(program, values)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-11, atol=1e-13, err_msg=key)


def test_relu_equals_torch() -> None:
    torch.manual_seed(5)  # pyright: ignore[reportUnknownMemberType]
    module = torch.nn.RNN(FEATURES, HIDDEN, nonlinearity="relu").double()
    x = torch.randn(STEPS, BATCH, FEATURES, dtype=torch.float64)
    h0 = torch.randn(1, BATCH, HIDDEN, dtype=torch.float64)
    y, h = module(x, h0)
    builder = Builder()
    tensors = [x, h0, *module.parameters()]
    operands = {str(index): each.detach().numpy() for index, each in enumerate(tensors)}
    symbols = [builder.input(key, TensorType.of(value)) for key, value in operands.items()]
    found = builder.emit("Rnn", symbols, {"hidden": HIDDEN, "nonlinearity": "relu"})
    results = ReferenceInterpreter().run(builder.finish(y=found[0], h=found[1]), operands)
    np.testing.assert_allclose(results["y"], y.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(results["h"], h.detach().numpy(), rtol=1e-12)


def test_gradients_of_weights_are_one_contraction_over_all_steps() -> None:
    builder = Builder()
    rows = STEPS * BATCH
    symbols = [
        builder.input(name, type_)
        for name, type_ in (
            ("x", f"float32[{STEPS},{BATCH},{FEATURES}]"),
            ("h0", f"float32[1,{BATCH},{HIDDEN}]"),
            ("c0", f"float32[1,{BATCH},{HIDDEN}]"),
            ("w_ih", f"float32[{4 * HIDDEN},{FEATURES}]"),
            ("w_hh", f"float32[{4 * HIDDEN},{HIDDEN}]"),
        )
    ]
    y = builder.emit("Lstm", symbols, {"hidden": HIDDEN, "bias": False})[0]
    d_ih, d_hh = gradients(y.sum(), symbols[3:])
    program = expand(builder.finish(d_ih=d_ih, d_hh=d_hh))
    made = dict(zip(program.first_result, program.program.instructions, strict=True))
    for _, value in program.program.outputs:
        assert made[value].op.name == "MatMul"
        assert all(
            rows in program.types[each].shape for each in made[value].operands if each is not None
        )
