"""Convolutions with few channels in a group, bit for bit: vectors lie along places, or groups."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcai.vm.backends.native.kernels.conv import forward_grid
from bcai.vm.backends.native.kernels.conv_plane_weights import ConvPlaneWeights
from bcai.vm.backends.native.kernels.conv_planes import ConvPlanes
from bcai.vm.backends.native.target import AVX512, Target
from bcai.vm.compiler.plan import OpTask
from bcai.vm.isa.ops.conv import conv
from bcai.vm.isa.types import Array, DType

from .convolutions import SPECIAL, Ints, check_all, normal, padded, plain
from .harness import SPLITS_UNEVEN, each_target, targets
from .lowered import AWKWARD

TARGETS = each_target()
MIXED: dict[str, Any] = {
    "stride": (2, 3), "padding_before": (2, 0), "padding_after": (2, 0), "dilation": (1, 2),
}  # fmt: skip
CASES: list[Any] = [
    pytest.param((2, 17, 9, 41), (17, 1, 3, 3), padded(2, 1, groups=17), id="depthwise"),
    pytest.param((3, 16, 9, 14), (16, 1, 3, 3), padded(2, 1, stride=2, groups=16), id="stride 2"),
    pytest.param((2, 5, 7, 8), (5, 1, 5, 5), padded(2, 2, groups=5), id="25 taps"),
    pytest.param((3, 8, 7, 13), (16, 2, 5, 3), plain(2, groups=4) | MIXED, id="all attributes"),
    pytest.param((2, 4, 300), (8, 1, 7), padded(1, 3, stride=2, groups=4), id="one axis"),
    pytest.param((1, 8, 5, 6, 7), (8, 1, 2, 3, 3), padded(3, 1, groups=8), id="three axes"),
    pytest.param((4, 6, 23, 23), (6, 1, 1, 1), plain(2, groups=6), id="blocks across images"),
    pytest.param((8, 3, 5, 9), (2, 3, 3, 3), padded(2, 1), id="two channels"),
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("x", "w", "attributes"), CASES)
def test_as_the_definition(x: Ints, w: Ints, attributes: dict[str, Any], target: Target) -> None:
    bias = normal(3, (w[0],))
    check_all(normal(1, x), normal(2, w), bias, attributes, target, splits=SPLITS_UNEVEN)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_types_and_awkward_views(target: Target, dtype: Any) -> None:
    x, w = normal(1, (2, 9, 6, 11), dtype), normal(2, (9, 1, 3, 3), dtype)
    check_all(x, w, normal(3, (9,), dtype), padded(2, 1, groups=9), target, awkward=AWKWARD)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("stride", [1, 2])
def test_special_values(target: Target, stride: int) -> None:
    rng = np.random.default_rng(stride)

    def some(shape: Ints, often: float) -> Array:
        x = rng.choice([-1e-30, 1e-30, 1.0, -0.0, 0.0], shape).astype(np.float32)
        return np.where(rng.random(shape) < often, rng.choice(SPECIAL, shape), x)

    for often in (0.0, 0.02):
        x, w = some((2, 16, 6, 9), often), some((16, 1, 3, 3), often)
        check_all(x, w, None, padded(2, 1, stride=stride, groups=16), target)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    groups=st.integers(4, 20),
    columns=st.integers(1, 2),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    width=st.integers(0, 2),
    sizes=st.tuples(st.integers(4, 9), st.integers(8, 30)),
)
def test_any_of_them(
    groups: int, columns: int, kernel: tuple[int, int], stride: int, width: int, sizes: Ints
) -> None:
    x, w = normal(1, (2, groups, *sizes)), normal(2, (groups * columns, 1, *kernel))
    attributes = padded(2, width, stride=stride, groups=groups)
    for target in targets()[:2]:
        check_all(x, w, None, attributes, target)


def test_which_kernel_is_taken() -> None:
    x, w = (2, 32, 28, 28), (32, 1, 3, 3)
    grid = forward_grid(OpTask(conv, padded(2, 1, groups=32), (), (), 0), x, w)
    few = ConvPlanes(DType.float32, grid, 32, 1, False, 9, 9)
    many = ConvPlanes(DType.float32, grid, 32, 16, False, 9, 9)
    assert few.suits(AVX512, samples=2, threads=2)
    assert not many.suits(AVX512, samples=2, threads=2)
    weights = ConvPlaneWeights(DType.float32, grid, 32)
    assert weights.suits(AVX512, columns=1)
    assert not weights.suits(AVX512, columns=2)
    assert not ConvPlaneWeights(DType.float32, grid, 3).suits(AVX512, columns=1)
