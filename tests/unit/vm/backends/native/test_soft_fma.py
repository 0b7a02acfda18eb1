"""The fused multiply-add without the instruction: against the definition, and against hardware."""

import numpy as np
import pytest
from tests.conformance.vm.golden.operands import fused_operands, special_floats
from tests.conformance.vm.golden.scalar_kernels import ScalarKernel
from tests.unit.vm.backends.native.harness import run_launches, targets

from bcai.vm.backends.native.launch import Address, Launch
from bcai.vm.backends.native.target import SSE, Target
from bcai.vm.backends.reference.interpreter import canonical
from bcai.vm.isa.arithmetic import fma
from bcai.vm.isa.types import Array, DType

FLOATS = (DType.float32, DType.float64)

pytestmark = pytest.mark.skipif(SSE not in targets(), reason="runs on x86-64 processors only")


def run(target: Target, *operands: Array) -> Array:
    """A * b + c on a target, with one not-a-number."""
    a = operands[0]
    kernel = ScalarKernel("fma", DType.of(a.dtype))
    launch = Launch(kernel, tuple(map(Address, range(4))), a.size, (0, 1, 2), (3,), 0)
    result = np.empty_like(a)
    assert run_launches([launch], [*map(np.ascontiguousarray, operands), result], target) == 0
    return canonical(result)


def assert_same_bits(found: Array, expected: Array, *operands: Array) -> None:
    unsigned = np.dtype(f"u{found.dtype.itemsize}")
    wrong = np.flatnonzero(found.view(unsigned) != canonical(expected).view(unsigned))
    first = [tuple(float(each[at]).hex() for each in (*operands, found)) for at in wrong[:3]]
    assert wrong.size == 0, f"{wrong.size} differ; a, b, c, result: {first}"


@pytest.mark.parametrize("dtype", FLOATS)
def test_operands_of_all_kinds_as_defined(dtype: DType) -> None:
    operands = fused_operands(dtype, 20_000, 1)
    assert_same_bits(run(SSE, *operands), fma(*operands), *operands)


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_three_special_values_as_defined(dtype: DType) -> None:
    special = special_floats(dtype)
    operands = [each.ravel() for each in np.meshgrid(special, special, special)]
    assert_same_bits(run(SSE, *operands), fma(*operands), *operands)


@pytest.mark.parametrize("dtype", FLOATS)
def test_sums_next_to_a_tie_as_defined(dtype: DType) -> None:
    digits = 24 if dtype is DType.float32 else 53
    least = -149 if dtype is DType.float32 else -1074
    kind = dtype.numpy.type
    rows = [
        (1 + sign * 2.0**-shift, 2.0**scale, odd * 2.0 ** (scale + digits))
        for sign in (-1, 1)
        for shift in (digits - 1, digits // 2, 3)
        for scale in (0, least // 2, least + 1, least, least - 1, least - 2)
        for odd in (1.0, 1.5, 3.0, -1.0, -1.5)
    ]
    rows += [
        (2.0 ** (least // 2 + 1), 2.0 ** (least - least // 2 - step), tiny)
        for step in range(4)
        for tiny in (2.0**least, -(2.0**least), 0.0, -0.0)
    ]
    columns = np.array(rows, np.float64).T.astype(dtype.numpy)
    operands = [np.ascontiguousarray(each, kind) for each in columns]
    assert_same_bits(run(SSE, *operands), fma(*operands), *operands)


@pytest.mark.parametrize("dtype", FLOATS)
def test_as_hardware_does(dtype: DType) -> None:
    fused = [each for each in targets() if each.fused]
    if not fused:
        pytest.skip("this processor has no fused multiply-add; run it on one that has")
    operands = fused_operands(dtype, 500_000, 2)
    expected = run(fused[0], *operands)
    assert_same_bits(run(SSE, *operands), expected, *operands)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("seed", range(10, 20))
def test_as_hardware_does_many_times(dtype: DType, seed: int) -> None:
    fused = [each for each in targets() if each.fused]
    if not fused:
        pytest.skip("this processor has no fused multiply-add; run it on one that has")
    operands = fused_operands(dtype, 5_000_000, seed)
    expected = run(fused[0], *operands)
    assert_same_bits(run(SSE, *operands), expected, *operands)
