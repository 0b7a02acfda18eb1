"""float16 and bfloat16, all 65,536 of each: what is loaded, rounded and stored."""

import warnings

import numpy as np
import pytest
from tests.unit.vm.backends.native.elementwise_kernel import Use, run_uses, same_bits
from tests.unit.vm.backends.native.harness import each_target

from bcai.vm.backends.native.narrow import NARROW
from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import Array, DType
from bcai.vm.isa.versions import LATEST

LANES = 8
EACH_NARROW = [pytest.param(each, id=each.name) for each in sorted(NARROW)]
UNARY = ("Copy", "Neg", "Sqrt", "Reciprocal", "Exp", "Tanh", "Round")


def every(dtype: DType) -> Array:
    return np.arange(1 << 16, dtype=np.uint16).view(dtype.numpy)


def compare(uses: list[Use], x: Array, target: Target) -> None:
    name = f"narrow_{DType.of(x.dtype).name}_{uses[-1].dtype.name}"
    for use, found in zip(uses, run_uses(name, uses, (x,), target, LANES), strict=True):
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            wanted = np.asarray(use.op.body(x, **use.attributes))
        wrong = np.flatnonzero(~same_bits(found, wanted))
        assert not wrong.size, (use.op.name, x[wrong[:4]], found[wrong[:4]], wanted[wrong[:4]])


@pytest.mark.parametrize("dtype", EACH_NARROW)
@pytest.mark.parametrize("target", each_target())
def test_every_number(target: Target, dtype: DType) -> None:
    by_name = LATEST.by_name
    uses = [Use(by_name[name], (0,), {}, dtype) for name in UNARY]
    uses += [Use(by_name["Cast"], (0,), {"dtype": each}, each) for each in DType]
    compare(uses, every(dtype), target)


@pytest.mark.parametrize("dtype", EACH_NARROW)
@pytest.mark.parametrize("target", each_target())
def test_every_tie_is_rounded_to_even(target: Target, dtype: DType) -> None:
    """Between any two neighbours: the middle, and the floats beside it."""
    with np.errstate(invalid="ignore"):
        numbers = every(dtype).astype(np.float64)
    finite = np.sort(numbers[np.isfinite(numbers)])
    middles = (finite[1:] + finite[:-1]) / 2
    beyond = finite[-1] + (finite[-1] - finite[-2]) / 2  # the first that rounds to infinity
    middles = np.concatenate([middles, [beyond, -beyond]])
    for source in (np.float32, np.float64):
        near = middles.astype(source)
        ends = (np.nextafter(near, source(side * np.inf)) for side in (-1, 1))
        x = np.concatenate([near, *ends])
        compare([Use(LATEST.by_name["Cast"], (0,), {"dtype": dtype}, dtype)], x, target)
