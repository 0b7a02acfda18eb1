"""Convolutions and their gradients, run natively and held against the definition."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import Array, TensorType
from bcai.vm.isa.versions import LATEST

from .lowered import run_lowered

Ints = tuple[int, ...]
SPECIAL = np.array(
    [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, -1e-45, 1e-30, -1e-30, 3e38], np.float32
)


def same(got: Array, expected: Array) -> None:
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    a, b = got.astype(np.float64), expected.astype(np.float64)
    equal = (a == b) & (np.signbit(a) == np.signbit(b)) | (np.isnan(a) & np.isnan(b))
    assert equal.all(), (np.argwhere(~equal)[:5], a[~equal][:5], b[~equal][:5])


def run(
    name: str, operands: Sequence[Array], attributes: dict[str, Any], target: Target, **options: Any
) -> Array:
    """What the native code gives."""
    types = [TensorType.of(each) for each in operands]
    result = LATEST.by_name[name].type_rule.infer(*types, **attributes)
    assert isinstance(result, TensorType)
    fault, (found,) = run_lowered(name, operands, attributes, [result], target, **options)
    assert fault == 0
    return found


def check(
    name: str, operands: Sequence[Array], attributes: dict[str, Any], target: Target, **options: Any
) -> Array:
    """Run both, compare; return the result."""
    with np.errstate(all="ignore"):
        expected: Array = LATEST.by_name[name].body(*operands, **attributes)
    same(run(name, operands, attributes, target, **options), expected)
    return expected


def check_all(
    x: Array, w: Array, b: Array | None, attributes: dict[str, Any], target: Target, **options: Any
) -> None:
    """Compare a convolution and both gradients."""
    y = check("Conv", [x, w] if b is None else [x, w, b], attributes, target, **options)
    d = np.roll(y, 1).astype(x.dtype)
    of_x, of_w = {"input_shape": x.shape}, {"weight_shape": w.shape}
    check("ConvInputGrad", [d, w], attributes | of_x, target, **options)
    check("ConvWeightGrad", [d, x], attributes | of_w, target, **options)


def normal(seed: int, shape: Ints, dtype: Any = np.float32) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def plain(rank: int, **others: Any) -> dict[str, Any]:
    """Attributes of a convolution without padding, of stride 1, but for the `others`."""
    axes: dict[str, Any] = {"stride": 1, "padding_before": 0, "padding_after": 0, "dilation": 1}
    found = {name: (others.pop(name, value),) * rank for name, value in axes.items()}
    return found | {"groups": 1} | others


def padded(rank: int, width: int, **others: Any) -> dict[str, Any]:
    """Attributes of a convolution padded on both sides."""
    return plain(rank, padding_before=width, padding_after=width, **others)
