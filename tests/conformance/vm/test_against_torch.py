"""Results and gradients of the instructions against torch's own functions, in float64."""

from typing import Any, cast

import numpy as np
import pytest
from tests.conformance.vm.torch_rows import ROWS, Row, torch

from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
from bcai.vm.compiler.differentiate import gradients
from bcai.vm.isa.symbol import Symbol
from bcai.vm.isa.types import Array, DType, TensorType
from bcai.vm.program.builder import Builder

REFERENCE = ReferenceInterpreter()
RANGES = {"": (-2.0, 2.0), "p": (0.3, 2.0), "u": (0.1, 0.9), "big": (1.1, 2.0)}
CALLS = [pytest.param(each, id=f"{each.name}-{number}") for number, each in enumerate(ROWS)]


@pytest.mark.parametrize("row", CALLS)
def test_equals_torch(row: Row) -> None:
    operands = [
        None if text is None else draw(text, np.random.default_rng(40 + index))
        for index, text in enumerate(row.operands)
    ]
    expected, expected_gradients = run_torch(row, operands)
    found, found_gradients = run_program(row, operands, len(expected))
    for index, value in enumerate(expected):
        np.testing.assert_allclose(
            found[index], value, rtol=1e-11, atol=1e-13, err_msg=f"result {index}"
        )
    for index, value in expected_gradients.items():
        np.testing.assert_allclose(
            found_gradients[index], value, rtol=1e-10, atol=1e-12, err_msg=f"operand {index}"
        )


def test_there_are_rows_for_most_of_the_set() -> None:
    assert len(ROWS) >= 150
    assert len({each.name for each in ROWS}) >= 110


def draw(text: str, random: np.random.Generator) -> Array:
    """Values for an operand as torch_rows.py writes it."""
    kind, colon, sizes = text.rpartition(":")
    kind = kind if colon else ""
    shape = tuple(int(each) for each in sizes.split(",") if each)
    if kind == "b":
        return np.asarray(random.integers(0, 2, shape), np.bool_)
    if kind.startswith("i"):
        low = 1 if kind == "i9" else 0
        return np.asarray(random.integers(low, int(kind[1:]), shape), np.int64)
    return np.asarray(random.uniform(*RANGES[kind], shape))


def weight_of(index: int, shape: tuple[int, ...]) -> Array:
    return np.asarray(np.random.default_rng(index).uniform(0.5, 1.5, shape))


def run_torch(row: Row, operands: list[Array | None]) -> tuple[list[Array], dict[int, Array]]:
    """Results, and the gradients of the operands to which torch gives one."""
    tensors: list[Any] = [None if each is None else torch.from_numpy(each) for each in operands]
    leaves = {
        index: each.requires_grad_()
        for index, each in enumerate(tensors)
        if each is not None and each.is_floating_point()
    }
    result = row.expected(*(each for each in tensors if each is not None))
    results = cast("list[Any]", [*result] if isinstance(result, tuple | list) else [result])
    pulled = {
        index: each
        for index, each in enumerate(results)
        if each.is_floating_point() and each.grad_fn
    }
    found: Any = (None,) * len(leaves)
    if pulled and leaves:
        found = torch.autograd.grad(
            list(pulled.values()),
            list(leaves.values()),
            [torch.from_numpy(weight_of(index, each.shape)) for index, each in pulled.items()],
            allow_unused=True,
        )
    given = zip(leaves, found, strict=True)
    return (
        [each.detach().numpy() for each in results],
        {index: each.numpy() for index, each in given if each is not None},
    )


def run_program(
    row: Row, operands: list[Array | None], count: int
) -> tuple[list[Array], dict[int, Array]]:
    """The same of the instruction."""
    builder = Builder()
    symbols = [
        None if each is None else builder.input(str(index), TensorType.of(each))
        for index, each in enumerate(operands)
    ]
    attributes = {
        name: DType[value] if name == "dtype" else value for name, value in row.attributes.items()
    }
    results = builder.emit(row.name, symbols, attributes)
    assert len(results) == count
    wanted = {i: each for i, each in enumerate(symbols) if each and each.dtype.is_float}
    outputs = {f"r{index}": each for index, each in enumerate(results)}
    loss = weighted_sum(builder, results)
    if loss is not None and wanted:
        pulled = gradients(loss, list(wanted.values()))
        outputs |= {f"d{index}": each for index, each in zip(wanted, pulled, strict=True)}
    values = {str(index): each for index, each in enumerate(operands) if each is not None}
    found = REFERENCE.run(builder.finish(**outputs), values)
    return (
        [found[f"r{index}"] for index in range(count)],
        {index: found[f"d{index}"] for index in wanted if f"d{index}" in found},
    )


def weighted_sum(builder: Builder, results: tuple[Symbol, ...]) -> Symbol | None:
    loss: Symbol | None = None
    for index, each in enumerate(results):
        if each.dtype.is_float:
            part = (each * builder.constant(weight_of(index, each.shape))).sum()
            loss = part if loss is None else loss + part
    return loss
