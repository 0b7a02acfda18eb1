"""Pools and their gradients as native code, compared with the definition bit for bit."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.isa.versions import LATEST

from .harness import SPLITS_UNEVEN, each_target, targets
from .lowered import AWKWARD, run_lowered

TARGETS = each_target()
SPECIAL = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, -1e-45, 1.0, -3.5])


def same(got: Array, expected: Array) -> None:
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    if got.dtype.kind not in "fV":
        np.testing.assert_array_equal(got, expected)
        return
    a, b = got.astype(np.float64), expected.astype(np.float64)
    equal = (a == b) & (np.signbit(a) == np.signbit(b)) | (np.isnan(a) & np.isnan(b))
    assert equal.all(), (a[~equal][:5], b[~equal][:5])


def check(
    name: str, operands: list[Array], attributes: dict[str, Any], target: Target, **options: Any
) -> list[Array]:
    """Run both, compare; return what the definition gives."""
    with np.errstate(all="ignore"):
        found: Any = LATEST.by_name[name].body(*operands, **attributes)
    expected: list[Array] = [found] if isinstance(found, np.ndarray) else [*found]
    types = [TensorType.of(each) for each in expected]
    fault, results = run_lowered(name, operands, attributes, types, target, **options)
    assert fault == 0
    for got, want in zip(results, expected, strict=True):
        same(got, want)
    return expected


def special(seed: int, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    rng = np.random.default_rng(seed)
    x = rng.integers(-3, 4, shape).astype(np.float64)
    x = np.where(rng.random(shape) < 0.3, rng.choice(SPECIAL, shape), x)
    with np.errstate(over="ignore"):
        return x.astype(dtype)


MAX_2D: dict[str, Any] = {
    "kernel": (3, 3), "stride": (2, 2), "padding_before": (1, 1), "padding_after": (1, 1),
    "dilation": (1, 1), "ceil": False,
}  # fmt: skip
HALVING: dict[str, Any] = {
    "kernel": (2, 2), "stride": (2, 2), "padding_before": (0, 0), "padding_after": (0, 0),
}  # fmt: skip
SIZES_AND_TYPES = [
    ((5, 5), np.float32),
    ((9, 39), np.float32),
    ((3, 2), np.float16),
    ((4, 22), np.float64),
    ((2, 20), ml_dtypes.bfloat16),
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("sizes", "dtype"), SIZES_AND_TYPES)
def test_usual_max_pools(target: Target, sizes: tuple[int, int], dtype: Any) -> None:
    x = special(1, (2, 3, *sizes), dtype)
    for attributes in (MAX_2D, HALVING | {"dilation": (1, 1), "ceil": True}):
        values, places = check("MaxPool", [x], attributes, target, splits=SPLITS_UNEVEN)
        d = special(2, values.shape, dtype)
        check("MaxPoolGrad", [d, places], {"input_shape": x.shape}, target, awkward=AWKWARD)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.int64])
def test_max_pools_of_whole_numbers(target: Target, dtype: Any) -> None:
    limits = np.iinfo(dtype)
    usual = np.random.default_rng(5).integers(-3, 4, (2, 3, 9, 71)).astype(dtype)
    extreme = usual.copy()
    extreme[..., ::3], extreme[..., 1::3] = limits.min, limits.max
    for x in (usual, extreme):
        check("MaxPool", [x], MAX_2D, target, splits=SPLITS_UNEVEN)
        check("MaxPool", [x], MAX_2D | {"stride": (1, 3)}, target, awkward=AWKWARD)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("sizes", "dtype"), SIZES_AND_TYPES)
@pytest.mark.parametrize("include_pad", [False, True])
def test_usual_mean_pools(
    target: Target, sizes: tuple[int, int], dtype: Any, include_pad: bool
) -> None:
    x = special(3, (2, 2, *sizes), dtype)
    three = {key: MAX_2D[key] for key in HALVING}
    for geometry in (HALVING, three):
        attributes = geometry | {"ceil": True, "count_include_pad": include_pad}
        (mean,) = check("AvgPool", [x], attributes, target, splits=SPLITS_UNEVEN)
        d = special(4, mean.shape, dtype)
        check("AvgPoolGrad", [d], attributes | {"input_shape": x.shape}, target, awkward=AWKWARD)


@st.composite
def geometries(draw: st.DrawFn) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Sizes and attributes of a pool that fits."""
    rank = draw(st.integers(1, 3))

    def axes(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel, dilation = axes(1, 3), axes(1, 2)
    widest = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    before = tuple(draw(st.integers(0, each)) for each in widest)
    after = tuple(draw(st.integers(0, each)) for each in widest)
    inner = 40 if rank == 1 else 21 if rank == 2 else 9
    sizes = tuple(
        draw(st.integers(max(1, w + 1 - b - a), (inner if axis == rank - 1 else 4) + w))
        for axis, (w, b, a) in enumerate(zip(widest, before, after, strict=True))
    )
    return sizes, {
        "kernel": kernel,
        "stride": axes(1, 4),
        "padding_before": before,
        "padding_after": after,
        "dilation": dilation,
        "ceil": draw(st.booleans()),
    }


@settings(max_examples=8, deadline=None, derandomize=True)
@given(geometries(), st.integers(0, 9))
def test_any_geometry(geometry: tuple[tuple[int, ...], dict[str, Any]], seed: int) -> None:
    sizes, attributes = geometry
    x = special(seed, (2, 1, *sizes))
    for target in targets()[:2]:
        _, places = check("MaxPool", [x], attributes, target)
        d = special(seed + 1, places.shape)
        check("MaxPoolGrad", [d, places], {"input_shape": x.shape}, target)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(geometries(), st.booleans(), st.integers(0, 9))
def test_any_geometry_of_a_mean(
    geometry: tuple[tuple[int, ...], dict[str, Any]], include_pad: bool, seed: int
) -> None:
    sizes, attributes = geometry
    given_kernel: tuple[int, ...] = attributes["kernel"]
    attributes: dict[str, Any] = attributes | {"count_include_pad": include_pad}
    del attributes["dilation"]
    for name in ("padding_before", "padding_after"):
        padding: tuple[int, ...] = attributes[name]
        attributes[name] = tuple(min(p, k - 1) for p, k in zip(padding, given_kernel, strict=True))
    x = special(seed, (2, 1, *(max(s, k) for s, k in zip(sizes, given_kernel, strict=True))))
    for target in targets()[:2]:
        (mean,) = check("AvgPool", [x], attributes, target)
        d = special(seed + 1, mean.shape)
        check("AvgPoolGrad", [d], attributes | {"input_shape": x.shape}, target)


@pytest.mark.parametrize("target", TARGETS)
def test_a_window_that_sees_nothing(target: Target) -> None:
    attributes = {
        "kernel": (2,), "stride": (1,), "padding_before": (1,), "padding_after": (1,),
        "dilation": (2,), "ceil": False,
    }  # fmt: skip
    _, places = check("MaxPool", [special(1, (1, 2, 1))], attributes, target)
    assert (places == -1).all()


@pytest.mark.parametrize("target", TARGETS)
def test_places_may_count_from_the_end_but_not_be_outside(target: Target) -> None:
    d = np.ones((1, 2, 3), np.float32)
    attributes = {"input_shape": (1, 2, 5)}
    check("MaxPoolGrad", [d, np.array([[[0, -1, 4], [-5, 1, 1]]])], attributes, target)
    for wrong in (5, -6):
        places = np.zeros((1, 2, 3), np.int64)
        places[0, 1, 2] = wrong
        type_ = TensorType.of(np.zeros((1, 2, 5), np.float32))
        fault, _ = run_lowered("MaxPoolGrad", [d, places], attributes, [type_], target)
        assert fault == 1
