"""Running folds, sorting and extremes natively give the bits of the definition."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.vm.backends.native.elementwise_kernel import same_bits
from tests.unit.vm.backends.native.harness import SPLITS_UNEVEN, each_target, targets
from tests.unit.vm.backends.native.lowered import AWKWARD, PLAIN, run_lowered
from tests.unit.vm.backends.native.test_elementwise import special_values

from bcai.vm.backends.native.target import Target
from bcai.vm.isa.types import NUMBERS, Array, DType, TensorType
from bcai.vm.isa.versions import LATEST

SHAPES = (
    *(((10,), 0), ((1,), 0), ((7, 10), 1), ((2, 300), -1), ((3, 9, 70), 1), ((40, 3), 0)),
    *(((5, 4), 0), ((0, 3), 1), ((3, 0), 1), ((2, 5, 0), 1), ((200,), 0)),
)
RUNS = [
    ("CumSum", {"exclusive": False, "reverse": False}),
    ("CumSum", {"exclusive": True, "reverse": True}),
    ("CumProd", {"exclusive": True, "reverse": False}),
    ("CumProd", {"exclusive": False, "reverse": True}),
]
PLACES = [("ArgMax", {"keepdims": True}), ("ArgMin", {"keepdims": False})]
SORTS = [("Sort", {"descending": False}), ("Sort", {"descending": True})]
EACH_DTYPE = [pytest.param(each, id=each.name) for each in DType]


def drawn(shape: tuple[int, ...], dtype: DType, *, plain: bool) -> Array:
    """Few different numbers, so that some are equal; special ones among them unless `plain`."""
    random = np.random.default_rng(5)
    special = special_values(dtype)
    if plain and dtype.is_float:
        return random.standard_normal(shape).astype(dtype.numpy)
    picked = random.choice(special, shape)
    if not dtype.is_float:
        return picked
    numbers = random.integers(-9, 9, shape).astype(dtype.numpy)
    return np.where(random.random(shape) < 0.3, picked, numbers)


def compare(
    name: str,
    attributes: dict[str, Any],
    x: Array,
    target: Target,
    *,
    awkward: bool,
) -> None:
    with np.errstate(all="ignore"):
        defined: Any = LATEST.by_name[name].body(x, **attributes)
    results: list[Array] = [*defined] if isinstance(defined, tuple) else [np.asarray(defined)]
    fault, found = run_lowered(
        name,
        [x],
        attributes,
        [TensorType.of(each) for each in results],
        target,
        awkward=awkward,
        splits=SPLITS_UNEVEN,
    )
    assert fault == 0
    for one, other in zip(found, results, strict=True):
        assert same_bits(one, other).all(), (x, one, other)


@pytest.mark.parametrize("awkward", [PLAIN, AWKWARD], ids=["plain", "awkward"])
@pytest.mark.parametrize(("shape", "axis"), SHAPES, ids=str)
@pytest.mark.parametrize("target", each_target())
def test_every_shape(target: Target, shape: tuple[int, ...], axis: int, awkward: bool) -> None:
    for name, attributes in (*RUNS, *PLACES, *SORTS):
        if name.startswith("Arg") and not shape[axis] and np.prod(np.delete(shape, axis)):
            continue  # there is no extreme of nothing
        x = drawn(shape, DType.float32, plain=name.startswith("Cum"))
        compare(name, {**attributes, "axis": axis}, x, target, awkward=awkward)


@pytest.mark.parametrize("dtype", EACH_DTYPE)
@pytest.mark.parametrize("target", each_target()[::2])  # the middle one has no code of its own
def test_every_type(target: Target, dtype: DType) -> None:
    for name, attributes in (RUNS[1], RUNS[3], PLACES[0], SORTS[1]):
        if dtype not in LATEST.by_name[name].dtypes:
            assert dtype not in NUMBERS
            continue
        for shape, axis in (((3, 150), 1), ((9, 70), 0), ((20, 11), 1)):
            x = drawn(shape, dtype, plain=name.startswith("Cum"))
            compare(name, {**attributes, "axis": axis}, x, target, awkward=PLAIN)
    if dtype in NUMBERS:
        x = drawn((4, 30), dtype, plain=False)
        compare(
            "CumSum", {"axis": 1, "exclusive": False, "reverse": False}, x, target, awkward=PLAIN
        )


def selections(n: int) -> list[dict[str, Any]]:
    """How many are kept of a line, from either end."""
    kept = sorted({0, min(1, n), min(5, n), n // 2, n})
    return [{"k": k, "largest": largest} for k in kept for largest in (True, False)]


@pytest.mark.parametrize("awkward", [PLAIN, AWKWARD], ids=["plain", "awkward"])
@pytest.mark.parametrize(("shape", "axis"), [*SHAPES, ((2, 700), 1), ((300, 3), 0)], ids=str)
@pytest.mark.parametrize("target", each_target())
def test_the_first_of_every_shape(
    target: Target, shape: tuple[int, ...], axis: int, awkward: bool
) -> None:
    x = drawn(shape, DType.float32, plain=False)
    for each in selections(shape[axis]):
        compare("TopK", {**each, "axis": axis}, x, target, awkward=awkward)


@pytest.mark.parametrize("dtype", EACH_DTYPE)
@pytest.mark.parametrize("target", each_target()[::2])
def test_the_first_of_every_type(target: Target, dtype: DType) -> None:
    for x in (drawn((2, 700), dtype, plain=False), any_bits(700, dtype)[None]):
        for each in selections(700):
            compare("TopK", {**each, "axis": 1}, x, target, awkward=PLAIN)


@pytest.mark.parametrize("dtype", [DType.float32, DType.int64], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("target", each_target())
def test_lines_that_fill_the_room_again_and_again(target: Target, dtype: DType) -> None:
    rising = np.arange(3000).astype(dtype.numpy)
    few = np.random.default_rng(6).integers(0, 3, 3000).astype(dtype.numpy)
    special = special_values(dtype).repeat(100)
    for x in (rising, rising[::-1].copy(), few, rising // 50, special, rising * 0):
        for k in (1, 7, 100):
            for largest in (True, False):
                attributes = {"k": k, "largest": largest, "axis": 0}
                compare("TopK", attributes, x, target, awkward=PLAIN)


@given(
    x=st.lists(st.sampled_from([-2.0, -0.0, 0.0, 1.0, np.nan, np.inf]) | st.floats(width=32)),
    repeated=st.integers(1, 40),
    data=st.data(),
)
def test_what_is_kept_is_the_beginning_of_what_is_sorted(
    x: list[float], repeated: int, data: st.DataObject
) -> None:
    line = np.tile(np.asarray(x, np.float32), repeated)
    k, largest = data.draw(st.integers(0, line.size)), data.draw(st.booleans())
    attributes = {"k": k, "largest": largest, "axis": 0}
    compare("TopK", attributes, line, targets()[0], awkward=PLAIN)


def any_bits(count: int, dtype: DType) -> Array:
    """Numbers of any bits; truth values are 0 or 1."""
    drawn = np.random.default_rng(dtype).bytes(count * dtype.itemsize)
    return (
        np.frombuffer(drawn, np.uint8) % 2 == 1
        if dtype is DType.bool
        else np.frombuffer(drawn, dtype.numpy)
    )


@pytest.mark.parametrize(("low", "high"), [(-5, 5), (1 << 40, (1 << 40) + 9), (0, 1 << 33)])
def test_keys_that_differ_in_one_half_or_both(low: int, high: int) -> None:
    x = np.random.default_rng(7).integers(low, high, 500)
    for descending in (False, True):
        for line in (x, x[:20]):
            compare(
                "Sort", {"axis": 0, "descending": descending}, line, targets()[0], awkward=PLAIN
            )


def test_sorting_by_digits_sees_every_byte() -> None:
    for dtype in (DType.int64, DType.int32, DType.float64, DType.uint8):
        x = any_bits(1000, dtype)
        compare("Sort", {"axis": 0, "descending": True}, x, targets()[0], awkward=PLAIN)


@pytest.mark.parametrize("dtype", [DType.float32, DType.float64], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("target", each_target())
def test_zeros_of_either_sign_are_equal_and_the_first_number_that_is_none_wins(
    target: Target, dtype: DType
) -> None:
    rows = [[-1, -0.0, 0.0, -2], [1, 0.0, -0.0, 2], [0, np.nan, np.inf, np.nan], [-np.inf] * 4]
    x = np.asarray(rows * 5, dtype.numpy)
    for name in ("ArgMax", "ArgMin"):
        compare(name, {"axis": 1, "keepdims": False}, x, target, awkward=PLAIN)
        compare(name, {"axis": 0, "keepdims": False}, x.T.copy(), target, awkward=PLAIN)
