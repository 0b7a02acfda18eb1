"""Convolutions and their gradients as native code, compared with the definition bit for bit."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcai.vm.backends.native.target import Target
from bcai.vm.isa.ops.conv import conv as conv_op
from bcai.vm.isa.ops.conv import conv_input_grad, conv_weight_grad
from bcai.vm.isa.types import Array, TensorType

from .convolutions import SPECIAL, Ints, check, check_all, normal, padded, plain, run, same
from .harness import SPLITS_UNEVEN, each_target, targets
from .lowered import AWKWARD

TARGETS = each_target()
WIDE, NARROW = (np.float32, np.float64), (np.float16, ml_dtypes.bfloat16)
MIXED: dict[str, Any] = {
    "stride": (2, 1), "padding_before": (1, 0), "padding_after": (0, 2), "dilation": (1, 2),
    "groups": 2,
}  # fmt: skip

CASES: list[Any] = [
    pytest.param((2, 3, 9), (5, 3, 3), padded(1, 1), id="one axis"),
    pytest.param((1, 4, 7, 6), (6, 2, 3, 2), MIXED, id="all attributes"),
    pytest.param((2, 2, 4, 5, 6), (3, 2, 2, 2, 2), plain(3), id="three axes"),
    pytest.param((3, 5, 7, 7), (37, 5, 3, 3), padded(2, 1), id="small images"),
    pytest.param((1, 3, 9, 34), (20, 3, 7, 7), padded(2, 3, stride=2), id="first layer"),
    pytest.param((2, 20, 5, 6), (17, 20, 1, 1), plain(2), id="1x1"),
    pytest.param((1, 6, 7, 7), (33, 6, 1, 1), plain(2, stride=2), id="1x1, stride 2"),
    pytest.param((1, 4, 6, 6), (8, 1, 3, 3), padded(2, 1, groups=4), id="depthwise"),
    pytest.param((1, 58, 3, 3), (2, 58, 3, 3), padded(2, 1), id="two blocks of k"),
    pytest.param((1, 2, 3, 3), (57, 2, 3, 3), padded(2, 1), id="two blocks of k back"),
    pytest.param((3, 1, 15, 15), (3, 1, 2, 2), padded(2, 1), id="blocks across images"),
    pytest.param((1, 2, 5, 5), (3, 2, 2, 2), padded(2, 3, stride=3), id="places without taps"),
    pytest.param((1, 1, 1), (1, 1, 1), plain(1), id="one number"),
]


@pytest.mark.parametrize("target", TARGETS[:2])
@pytest.mark.parametrize(("x", "w", "attributes"), CASES)
def test_as_the_definition(x: Ints, w: Ints, attributes: dict[str, Any], target: Target) -> None:
    bias = normal(3, (w[0],))
    check_all(normal(1, x), normal(2, w), bias, attributes, target, splits=SPLITS_UNEVEN)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", WIDE)
def test_types_and_awkward_views(target: Target, dtype: Any) -> None:
    x, w = normal(1, (2, 3, 6, 7), dtype), normal(2, (5, 3, 3, 3), dtype)
    check_all(x, w, normal(3, (5,), dtype), padded(2, 1), target, awkward=AWKWARD)


@pytest.mark.parametrize("target", TARGETS[::2])
@pytest.mark.parametrize("dtype", NARROW)
def test_narrow_types_are_widened(target: Target, dtype: Any) -> None:
    x, w = normal(1, (2, 3, 6, 7), dtype), normal(2, (5, 3, 3, 3), dtype)
    check_all(x, w, normal(3, (5,), dtype), padded(2, 1), target, awkward=AWKWARD)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_special_values(target: Target, stride: int, seed: int) -> None:
    rng = np.random.default_rng(seed)

    def some(shape: Ints, often: float) -> Array:
        x = rng.choice([-1e-30, 1e-30, 1.0, -0.0, 0.0], shape).astype(np.float32)
        return np.where(rng.random(shape) < often, rng.choice(SPECIAL, shape), x)

    for often in (0.0, 0.02):
        x, w = some((2, 2, 5, 6), often), some((4, 2, 3, 3), often)
        check_all(x, w, None, padded(2, 1, stride=stride), target)


@pytest.mark.parametrize("target", TARGETS)
def test_zeros_that_a_skipped_tap_would_turn(target: Target) -> None:
    # The product underflows to -0; a tap that wrote nothing then adds +0, or with w < 0 another -0.
    d = np.full((1, 1, 2), 1e-30, np.float32)
    for kernel in ([-1e-30, 1.0], [-1e-30, -1.0], [1.0, -1e-30], [np.inf, 1.0], [np.nan, 1.0]):
        w = np.array(kernel, np.float32).reshape(1, 1, 2)
        for size in (4, 5):
            attributes = plain(1, stride=2) | {"input_shape": (1, 1, size)}
            check("ConvInputGrad", [d, w], attributes, target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("outside", [1.0, -1.0, np.inf, np.nan])
@pytest.mark.parametrize("place", [(0, 1), (1, 0), (2, 1), (1, 2)])
def test_zeros_that_padding_would_turn(target: Target, outside: float, place: Any) -> None:
    x = np.full((1, 1, 3, 3), 1e-30, np.float32)
    w = np.zeros((1, 1, 3, 3), np.float32)
    w[0, 0, 1, 1] = -1e-30
    w[0, 0][place] = outside
    attributes = padded(2, 1)
    y = check("Conv", [np.where(np.eye(3, dtype=bool), x, 0), w], attributes, target)
    check("Conv", [x, w], attributes, target)
    check("ConvInputGrad", [x, w], attributes | {"input_shape": x.shape}, target)
    assert np.isnan(y).any() == (not np.isfinite(outside))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Ints, Ints, dict[str, Any]]:
    """Shapes of an input and a weight that fit, and attributes."""
    rank = draw(st.integers(1, 3))

    def axes(low: int, high: int) -> Ints:
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel, dilation, before, after = axes(1, 3), axes(1, 2), axes(0, 3), axes(0, 3)
    widest = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    sizes = tuple(
        draw(st.integers(max(1, w - b - a), (18 if axis == rank - 1 else 4) + w))
        for axis, (w, b, a) in enumerate(zip(widest, before, after, strict=True))
    )
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    channels, columns = draw(st.integers(1, 4)), draw(st.integers(1, 19))
    return (
        (draw(st.integers(1, 3)), channels * groups, *sizes),
        (columns * groups, channels, *kernel),
        {
            "stride": axes(1, 3),
            "padding_before": before,
            "padding_after": after,
            "dilation": dilation,
            "groups": groups,
        },
    )


@settings(max_examples=4, deadline=None, derandomize=True)
@given(convolutions())
def test_any_convolution(case: tuple[Ints, Ints, dict[str, Any]]) -> None:
    x, w, attributes = case
    for target in targets()[:2]:
        check_all(normal(1, x), normal(2, w), None, attributes, target)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(convolutions())
def test_many_convolutions(case: tuple[Ints, Ints, dict[str, Any]]) -> None:
    x, w, attributes = case
    for target in targets():
        check_all(normal(1, x), normal(2, w), normal(3, (w[0],)), attributes, target)


@pytest.mark.parametrize("stride", [1, 2])
def test_bits_do_not_depend_on_target_split_or_batch(stride: int) -> None:
    """Sizes at which the kernels cut rows, panels and blocks; the definition would take long."""
    x, w = normal(1, (3, 20, 28, 29)), normal(2, (70, 20, 3, 3))
    attributes = padded(2, 1, stride=stride)
    able = targets()[:2]
    y = [run("Conv", [x, w], attributes, each) for each in able]
    d = np.roll(y[0], 1)
    of_x, of_w = attributes | {"input_shape": x.shape}, attributes | {"weight_shape": w.shape}
    for target in able:
        same(run("Conv", [x, w], attributes, target, splits=SPLITS_UNEVEN), y[0])
        same(run("Conv", [x[1:2], w], attributes, target), y[0][1:2])
        of_one = of_x | {"input_shape": (1, *x.shape[1:])}
        whole = run("ConvInputGrad", [d, w], of_x, target, splits=SPLITS_UNEVEN)
        same(run("ConvInputGrad", [d[1:2], w], of_one, able[0]), whole[1:2])
        same(run("ConvWeightGrad", [d, x], of_w, target, splits=SPLITS_UNEVEN),
             run("ConvWeightGrad", [d, x], of_w, able[0]))  # fmt: skip
    assert np.abs(y[0] - _by_float64(x, w, stride)).max() < 1e-4


def _by_float64(x: Array, w: Array, stride: int) -> Array:
    wide = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (2, 3))
    return np.einsum("nchwij,ocij->nohw", windows[:, :, ::stride, ::stride], w, optimize=True)


def test_nothing_to_compute_is_left_to_the_definition() -> None:
    from bcai.vm.backends.native.kernels import LOWERINGS
    from bcai.vm.backends.native.lowering import Scope
    from bcai.vm.compiler.plan import OpTask, View, row_major

    def view(number: int, *shape: int) -> View:
        return View(number, TensorType.of(np.zeros(shape, np.float32)), row_major(shape))

    attributes = plain(1)
    scope = Scope(targets()[0], 1, [])
    x, w, y = view(0, 0, 3, 5), view(1, 4, 3, 2), view(2, 0, 4, 4)
    task = OpTask(conv_op, attributes, (x, w, None), (y,), 0)
    assert LOWERINGS["Conv"](task, scope) is None
    task = OpTask(conv_input_grad, attributes | {"input_shape": (0, 3, 5)}, (y, w), (x,), 0)
    assert LOWERINGS["ConvInputGrad"](task, scope) is None
    task = OpTask(conv_weight_grad, attributes | {"weight_shape": (4, 3, 2)}, (y, x), (w,), 0)
    assert LOWERINGS["ConvWeightGrad"](task, scope) is None
