"""Element-by-element instructions as machine code give the bits of the definition."""

import re
import warnings
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from tests.unit.vm.backends.native.elementwise_kernel import (
    Use,
    UsesKernel,
    run_uses,
    same_bits,
)
from tests.unit.vm.backends.native.harness import each_target, targets

from bcai.vm.backends.native.elementwise import ELEMENTWISE, supports
from bcai.vm.backends.native.elementwise.conversion import PLACES
from bcai.vm.backends.native.elementwise.function import FUNCTIONS
from bcai.vm.backends.native.llvm import Module
from bcai.vm.backends.native.narrow import NARROW
from bcai.vm.backends.native.objects import compile_assembly
from bcai.vm.backends.native.target import AVX2, TARGETS, Target
from bcai.vm.isa.op import Op
from bcai.vm.isa.types import Array, DType
from bcai.vm.isa.versions import LATEST

COUNT = 1501
PLACE_COUNT = 37
EACH_DTYPE = [pytest.param(each, id=each.name) for each in DType]
FEW = frozenset({"Exp", "Pow", "Tanh"})
"""On narrow floats the others are what they are on float32, and rounded as these are."""
EVERY = frozenset(FUNCTIONS)
CLAMPS = (
    {"min": -0.5, "max": 0.5},
    {"min": 0.0, "max": float("inf")},
    {"min": 1.0, "max": -1.0},
    {"min": -1e300, "max": -0.0},
    {"min": 0.1, "max": 7.7},
)


def special_values(dtype: DType) -> Array:
    """Zeros, limits, subnormals, halves and what else a rule may trip over."""
    if dtype is DType.bool:
        return np.asarray([False, True])
    if not dtype.is_float:
        limits = np.iinfo(dtype.numpy)
        low, high = int(limits.min), int(limits.max)
        near = [value for value in range(-3, 10) if low <= value <= high]
        return np.asarray([low, low + 1, high - 1, high, high // 2, *near], dtype.numpy)
    width = 8 * dtype.itemsize
    digits = {DType.float32: 23, DType.float64: 52, DType.float16: 10, DType.bfloat16: 7}[dtype]
    infinity = ((1 << (width - 1 - digits)) - 1) << digits
    bits = [0, 1, (1 << digits) - 1, 1 << digits, infinity - 1, infinity, infinity + 1]
    bits += [infinity | 1 << (digits - 1)]
    one = np.asarray(bits, f"u{dtype.itemsize}").view(dtype.numpy)
    plain = np.asarray([0.5, 1.0, 1.5, 2.5, 3.0, 127.5, 255.0, 1e4, 2.0**31, 2.0**63, 0.1])
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        half = np.concatenate([one, plain.astype(dtype.numpy)])
        return np.concatenate([half, -half])


@cache
def operands(dtype: DType) -> tuple[Array, ...]:
    """A mask, every pair of special values, then random bits; a third operand in another order."""
    random = np.random.default_rng(dtype)
    special = special_values(dtype)
    x, y = (each.reshape(-1) for each in np.meshgrid(special, special))
    drawn = random.integers(0, 256, (2, COUNT, dtype.itemsize), np.uint8)
    if dtype is DType.bool:
        drawn &= 1
    if dtype in (DType.float32, DType.float64):  # moderate numbers, where functions bend
        moderate = random.standard_normal((2, COUNT)) * 10.0 ** random.integers(-3, 3, COUNT)
        a, b = moderate.astype(dtype.numpy)
        x, y = np.concatenate([x, a]), np.concatenate([y, b])
    a, b = (np.frombuffer(each.tobytes(), dtype.numpy) for each in drawn)
    x, y = np.concatenate([x, a]), np.concatenate([y, b])
    z = random.permutation(np.concatenate([special, y]))[: x.size]
    return random.random(x.size) < 0.5, x, y, z


@cache
def uses(dtype: DType, functions: frozenset[str]) -> tuple[Use, ...]:
    """Every instruction without places on operands of one element type."""
    return tuple(_uses(dtype, functions))


def _uses(dtype: DType, functions: frozenset[str]) -> Iterator[Use]:
    for name in ELEMENTWISE:
        op = LATEST.by_name[name]
        if name in PLACES or (name in FUNCTIONS and name not in functions):
            continue
        if name == "Where":
            yield Use(op, (0, 1, 2), {}, dtype)
        elif name == "Cast":
            yield from (Use(op, (1,), {"dtype": each}, each) for each in DType)
        elif name == "Clamp" and dtype in op.dtypes:
            yield from (Use(op, (1,), each, dtype) for each in CLAMPS)
        elif dtype in op.dtypes and supports(op, [dtype]):
            places = tuple(range(1, 1 + len(op.operands)))
            yield Use(op, places, {}, result_type(op, dtype))


def result_type(op: Op, dtype: DType) -> DType:
    is_predicate = op.group == "comparison"
    return DType.bool if is_predicate else dtype


def functions_for(dtype: DType) -> frozenset[str]:
    return FEW if dtype in NARROW else EVERY


@cache
def expected(dtype: DType) -> dict[str, Array]:
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        return {
            use.name: np.asarray(
                use.op.body(*(operands(dtype)[each] for each in use.operands), **use.attributes)
            )
            for use in uses(dtype, functions_for(dtype))
        }


def compare(dtype: DType, target: Target, lanes: int, functions: frozenset[str]) -> None:
    given, wanted = operands(dtype), expected(dtype)
    picked = uses(dtype, functions)
    found = run_uses(f"elementwise_{dtype.name}_{len(functions)}", picked, given, target, lanes)
    for use, result in zip(picked, found, strict=True):
        right = wanted[use.name]
        wrong = np.flatnonzero(~same_bits(result, right))
        sample = [
            ([given[each][at] for each in use.operands], result[at], right[at]) for at in wrong[:4]
        ]
        assert not wrong.size, (use.name, wrong.size, sample)


@pytest.mark.parametrize("dtype", EACH_DTYPE)
@pytest.mark.parametrize("target", each_target())
def test_bits_are_those_of_the_definition(target: Target, dtype: DType) -> None:
    compare(dtype, target, target.lanes(DType.float32), functions_for(dtype))


@pytest.mark.parametrize("dtype", EACH_DTYPE)
def test_one_lane_gives_the_same_bits(dtype: DType) -> None:
    compare(dtype, targets()[0], 1, FEW)


@pytest.mark.parametrize("dtype", [DType.float32, DType.int8], ids=lambda dtype: dtype.name)
def test_lanes_of_several_registers_give_the_same_bits(dtype: DType) -> None:
    if AVX2 not in targets():
        pytest.skip("the processor has no avx2; run it on one that has")
    compare(dtype, AVX2, 16, FEW)


@pytest.mark.parametrize(
    "dtype", [DType.float32, DType.float64, DType.float16, DType.int64], ids=lambda each: each.name
)
@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_nothing_calls_a_library(target: Target, dtype: DType) -> None:
    given = tuple(DType.of(each.dtype) for each in operands(dtype))
    kernel = UsesKernel("calls", uses(dtype, FEW), given, target.lanes(DType.float32))
    module = Module("calls", target.triple)
    kernel.write(module, target)
    assembly = compile_assembly(str(module), target, level=1)
    called = set(re.findall(r"^\s+(?:call|jmp|bl)[lq]?\s+([A-Za-z_]\w*)", assembly, re.MULTILINE))
    assert {name for name in called if not module.has(name)} == set()


PLACED = [
    Use(LATEST.by_name["Arange"], (0,), {"start": a, "step": b, "count": 1, "dtype": each}, each)
    for each in sorted(set(DType) - {DType.bool})
    for a, b in ((0.0, 1.0), (1.5, -0.25), (1e9, 1e8 / 3))
]


@pytest.mark.parametrize("target", each_target())
def test_a_range_is_numbered_by_place(target: Target) -> None:
    place = np.arange(PLACE_COUNT)
    found = run_uses("arange", PLACED, (place,), target, 8)
    for use, result in zip(PLACED, found, strict=True):
        with np.errstate(all="ignore"):
            wanted = use.op.body(**{**use.attributes, "count": PLACE_COUNT})
        assert same_bits(result, wanted).all(), use


@pytest.mark.parametrize("index_dtype", [DType.int32, DType.int64], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("target", each_target())
def test_one_hot_compares_index_and_place(target: Target, index_dtype: DType) -> None:
    index = np.asarray([0, 4, -1, 5, 2, 3, -5, 1], index_dtype.numpy)
    places, repeated = np.tile(np.arange(5), index.size), np.repeat(index, 5)
    op = LATEST.by_name["OneHot"]
    uses = [Use(op, (0, 1), {"depth": 5, "dtype": each}, each) for each in DType]
    found = run_uses(f"one_hot_{index_dtype.name}", uses, (repeated, places), target, 16)
    for use, result in zip(uses, found, strict=True):
        wanted = op.body(index, **use.attributes)
        assert same_bits(result.reshape(wanted.shape), wanted).all(), use


@pytest.mark.parametrize("dtype", EACH_DTYPE)
@pytest.mark.parametrize("target", each_target())
def test_triangles_compare_row_and_column(target: Target, dtype: DType) -> None:
    rows, columns = 7, 9
    x = operands(dtype)[1][-rows * columns :].reshape(rows, columns)
    row, column = (each.reshape(-1) for each in np.indices(x.shape))
    uses = [
        Use(LATEST.by_name[name], (0, 1, 2), {"diagonal": diagonal}, dtype)
        for name in ("Tril", "Triu")
        for diagonal in (0, -1, 2, 1 << 70, -(1 << 70))
    ]
    found = run_uses(f"triangle_{dtype.name}", uses, (x.reshape(-1), row, column), target, 16)
    for use, result in zip(uses, found, strict=True):
        wanted = use.op.body(x, **use.attributes)
        assert same_bits(result.reshape(x.shape), wanted).all(), use


def test_what_can_fail_does_not_stand_in_a_loop() -> None:
    fallible = {
        (name, dtype.name)
        for name, op in LATEST.by_name.items()
        if name in ELEMENTWISE
        for dtype in op.dtypes
        if not supports(op, [dtype])
    }
    signed = {"int8", "int16", "int32", "int64"}
    shifts = {"BitShiftLeft", "BitShiftRight"}
    assert fallible == (
        {(name, each) for name in ("Div", "Mod", "Fmod") for each in (*signed, "uint8")}
        | {(name, each) for name in ("Pow", *shifts) for each in signed}
    )
