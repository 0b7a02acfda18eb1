"""The one order of sums and contractions, against plain loops over scalars."""

from typing import Any

import numpy as np
import pytest

from bcai.vm.isa.arithmetic import fma
from bcai.vm.isa.order import contract, sum_last
from bcai.vm.isa.types import Array

Kind = type[np.floating[Any]]
KINDS: list[Kind] = [np.float32, np.float64]


def loop_sum(values: list[Array], kind: Kind) -> Array:
    """Note [Order of a sum], one addition at a time."""
    zero = np.zeros((), kind)
    while True:
        sums: list[Array] = []
        for start in range(0, max(len(values), 1), 4096):
            lanes = [zero] * 32
            for at, value in enumerate(values[start : start + 4096]):
                lanes[at % 32] = lanes[at % 32] + value
            for width in (16, 8, 4, 2, 1):
                lanes = [lanes[at] + lanes[at + width] for at in range(width)]
            sums.append(lanes[0])
        if len(sums) == 1:
            return sums[0]
        values = sums


def loop_contract(a: Array, b: Array) -> Array:
    """Note [Order of a contraction], one element at a time."""
    total = None
    for start in range(0, len(a), 512):
        part = np.zeros((), a.dtype)
        for at in range(start, min(start + 512, len(a))):
            part = fma(a[at], b[at], part)
        total = part if total is None else total + part
    return np.zeros((), a.dtype) if total is None else total


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 2, 31, 32, 33, 63, 65, 100, 4095, 4096, 4097, 8200])
def test_sum(kind: Kind, count: int) -> None:
    x = np.random.default_rng(count).normal(size=(2, count)).astype(kind)
    found = sum_last(x)
    expected = np.asarray([loop_sum(list(row), kind) for row in x])
    assert found.tobytes() == expected.tobytes()


def test_sum_of_sums() -> None:
    x = np.random.default_rng(0).normal(size=4096 * 40 + 7).astype(np.float32)
    assert sum_last(x).tobytes() == loop_sum(list(x), np.float32).tobytes()


def test_sum_starts_from_plus_zero() -> None:
    assert not np.signbit(sum_last(np.asarray([-0.0], np.float32)))
    assert not np.signbit(sum_last(np.zeros(0, np.float32)))


def test_sum_of_integers_wraps() -> None:
    assert sum_last(np.asarray([100, 100], np.int8)) == -56


def test_sum_of_float16_is_rounded_once() -> None:
    x = np.full(4096, 1.0, np.float16)
    assert sum_last(x) == 4096
    assert sum_last(x).dtype == np.float16


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [0, 1, 2, 511, 512, 513, 1100])
def test_contract(kind: Kind, k: int) -> None:
    random = np.random.default_rng(k)
    a = random.normal(size=(2, k)).astype(kind)
    b = random.normal(size=(k, 3)).astype(kind)
    found = contract(a, b)
    expected = np.asarray([[loop_contract(row, column) for column in b.T] for row in a])
    assert found.tobytes() == expected.tobytes()


def test_contract_does_not_depend_on_batch_or_layout() -> None:
    random = np.random.default_rng(1)
    a = random.normal(size=(3, 4, 70)).astype(np.float32)
    b = random.normal(size=(70, 5)).astype(np.float32)
    whole = contract(a, b)
    assert contract(a[1], b).tobytes() == whole[1].tobytes()
    assert contract(a[:, 2:3], np.asfortranarray(b)).tobytes() == whole[:, 2:3].tobytes()


def test_contract_of_integers_wraps() -> None:
    a, b = np.full((1, 3), 100, np.int8), np.full((3, 1), 100, np.int8)
    assert contract(a, b).item() == np.int8(30000 - 117 * 256)
