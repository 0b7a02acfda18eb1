"""Remainders where rounding is most likely to go wrong: next to multiples of the divisor."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.vm.backends.native.elementwise_kernel import Use, run_uses, same_bits
from tests.unit.vm.backends.native.harness import each_target, targets

from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import Array, DType
from bcai.vm.isa.versions import LATEST

NAMES = ("Fmod", "Mod")
COUNT = 4000


def near_multiples(dtype: DType, seed: int, exponents: int) -> tuple[Array, Array]:
    """Dividends that are multiples of the divisors, or up to two steps beside one."""
    random = np.random.default_rng(seed)
    digits = 53 if dtype is DType.float64 else 24
    signs = random.choice([-1.0, 1.0], (2, COUNT))
    with np.errstate(all="ignore"):
        divisor = random.uniform(1, 2, COUNT) * 2.0 ** random.integers(-exponents, exponents, COUNT)
        divisor = (divisor * signs[0]).astype(dtype.numpy)
        times = np.floor(2.0 ** random.uniform(0, digits + 2, COUNT))
        times = np.where(random.random(COUNT) < 0.1, 2.0**digits - 1, times)
        dividend = (times * divisor.astype(np.float64) * signs[1]).astype(dtype.numpy)
        for _ in range(2):
            beside = np.nextafter(dividend, random.choice([-np.inf, np.inf], COUNT))
            dividend = np.where(random.random(COUNT) < 0.5, dividend, beside).astype(dtype.numpy)
    return dividend, divisor


def compare(dtype: DType, target: Target, pair: tuple[Array, Array]) -> None:
    uses = [Use(LATEST.by_name[name], (0, 1), {}, dtype) for name in NAMES]
    lanes = target.lanes(dtype)
    found = run_uses(f"remainder_{dtype.name}", uses, pair, target, lanes)
    for use, result in zip(uses, found, strict=True):
        with np.errstate(all="ignore"):
            wanted = np.asarray(use.op.body(*pair))
        wrong = np.flatnonzero(~same_bits(result, wanted))[:4]
        assert not wrong.size, (use.name, *(each[wrong] for each in (*pair, result, wanted)))


@pytest.mark.parametrize("dtype", [DType.float32, DType.float64], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("target", each_target())
def test_next_to_multiples_remainders_are_exact(target: Target, dtype: DType) -> None:
    widest = 1070 if dtype is DType.float64 else 145
    for exponents in (3, 60, widest):
        compare(dtype, target, near_multiples(dtype, exponents, exponents))


def drawn(data: st.DataObject, numbers: st.SearchStrategy[float], dtype: DType) -> Array:
    return np.asarray(data.draw(st.lists(numbers, min_size=20, max_size=20)), dtype.numpy)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_any_two_floats(data: st.DataObject) -> None:
    for dtype, numbers in ((DType.float32, st.floats(width=32)), (DType.float64, st.floats())):
        compare(dtype, targets()[0], (drawn(data, numbers, dtype), drawn(data, numbers, dtype)))
