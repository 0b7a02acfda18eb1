"""Loops as machine code store the bits of the definition: every way to walk and to fold."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from tests.unit.vm.backends.native.harness import SPLITS_UNEVEN, each_target, targets
from tests.unit.vm.backends.native.loop_definition import Loop, assert_same, lowered

from bcai.vm.backends.native.loops import sweep
from bcai.vm.backends.native.loops.canonical import canonical
from bcai.vm.backends.native.target import AVX512, Target
from bcai.vm.compiler.plan import Fold, Literal, Load, Place, View
from bcai.vm.isa.types import Array, DType

SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1e-45, -1e-45, 1.5, -1.5)
EVERY_TARGET = pytest.mark.parametrize("target", each_target())


def numbers(*shape: int, dtype: DType = DType.float32, seed: int = 0) -> Array:
    """Random elements of a type."""
    generator = np.random.default_rng([seed, *shape])
    if dtype is DType.bool:
        return generator.integers(0, 2, shape).astype(bool)
    if dtype.is_float:
        return generator.standard_normal(shape).astype(dtype.numpy)
    return generator.integers(0, 256, shape).astype(np.int64).astype(dtype.numpy)


def special(*shape: int, dtype: DType = DType.float32) -> Array:
    """Special values, at random places."""
    with np.errstate(all="ignore"):
        values = np.array(SPECIAL).astype(dtype.numpy)
    return values[np.random.default_rng(len(shape)).integers(0, len(values), shape)]


def softmax(x: Array, order: tuple[int, ...] | None = None) -> Loop:
    """Three passes over each row of a matrix."""
    loop = Loop(x.shape, 1)
    a = loop.load(x, order)
    e = loop.apply("Exp", loop.apply("Sub", a, loop.fold("ReduceMax", a)))
    loop.store(loop.apply("Div", e, loop.fold("Sum", e)), order=order)
    return loop


def moments(x: Array, order: tuple[int, ...] | None = None, kept: int = 1) -> Loop:
    """Two passes, two folds in one of them, stores of every kind."""
    loop = Loop(x.shape, kept)
    a = loop.load(x, order)
    total, least = loop.fold("Sum", a), loop.fold("ReduceMin", a)
    d = loop.apply("Sub", a, total)
    loop.store(d, order=order)
    square = loop.fold("Sum", loop.apply("Mul", d, d))
    loop.store(loop.apply("Add", square, least), row=True)
    loop.store(total, row=True)
    return loop


@EVERY_TARGET
@pytest.mark.parametrize("size", [0, 1, 3, 17, 31, 32, 33, 4095, 4096, 4097, 70000])
def test_rows_of_any_length(target: Target, size: int) -> None:
    count = 3 if size < 5000 else 2
    if size:
        assert_same(softmax(numbers(count, size)), target, SPLITS_UNEVEN)
    if size in (31, 33, 70000):
        assert_same(moments(numbers(count, size)), target, SPLITS_UNEVEN)
    loop = Loop((count, size), 1)
    x = loop.load(numbers(count, size))
    loop.store(loop.fold("Sum", x), row=True)
    loop.store(loop.fold("Prod", x), row=True)
    assert_same(loop, target, SPLITS_UNEVEN)


@EVERY_TARGET
@pytest.mark.parametrize("size", [1, 17, 300])
@pytest.mark.parametrize("count", [0, 1, 31, 33, 4097])
def test_columns_of_any_length(target: Target, count: int, size: int) -> None:
    loop = Loop((size, count), 1)
    x = loop.load(numbers(size, count), (1, 0))
    loop.store(loop.fold("Sum", x), row=True)
    assert_same(loop, target, SPLITS_UNEVEN)
    if count in (1, 33):
        assert_same(moments(numbers(size, count), (1, 0)), target, SPLITS_UNEVEN)


@EVERY_TARGET
@pytest.mark.parametrize("area", [2, 49, 64, 608, 784])
def test_runs_as_in_batch_normalisation(target: Target, area: int) -> None:
    x = np.ascontiguousarray(numbers(9, 5, area).transpose(1, 0, 2))
    assert_same(moments(x, (1, 0, 2)), target, SPLITS_UNEVEN)
    halves = np.ascontiguousarray(numbers(2, 5, 3, area).transpose(1, 0, 2, 3))
    assert_same(moments(halves, (1, 2, 0, 3)), target, SPLITS_UNEVEN)


@pytest.mark.parametrize("size", [1, 31, 33, 4097])
def test_ways_to_fold_are_equal(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Accumulators in registers, a chunk that is filled first, and columns."""
    for limit, count in ((0, 5), (1 << 30, 6)):
        monkeypatch.setattr(sweep, "REGISTER_INSTRUCTIONS_MAX", limit)
        x = np.concatenate([numbers(count, size), special(count, size)])
        for order in (None, (1, 0)):
            assert_same(softmax(x, order), targets()[0])


@EVERY_TARGET
@pytest.mark.parametrize("dtype", list(DType))
@pytest.mark.parametrize("columns_", [False, True])
def test_every_type_of_fold(target: Target, dtype: DType, columns_: bool) -> None:
    order = (1, 0) if columns_ else None
    content = numbers(18, 45, dtype=dtype)
    if dtype.is_float:
        content[1::2] = special(9, 45, dtype=dtype)
    loop = Loop(content.shape, 1)
    x = loop.load(content, order)
    for name in ["ReduceMax", "ReduceMin"] + ["Sum", "Prod"] * (dtype is not DType.bool):
        loop.store(loop.fold(name, x), row=True)
    assert_same(loop, target)


@EVERY_TARGET
@pytest.mark.parametrize("dtype", [DType.float32, DType.float64])
@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_extremes_of_rows_with_one_special_value(
    monkeypatch: pytest.MonkeyPatch, target: Target, dtype: DType, limit: int
) -> None:
    """Among zeros of either sign and numbers of either sign; folded in both ways."""
    monkeypatch.setattr(sweep, "REGISTER_INSTRUCTIONS_MAX", limit)
    x = np.zeros((4, len(SPECIAL), 40 + bool(limit)), dtype.numpy)
    x += np.array([0.0, 1.0, -1.0, 2.0], dtype.numpy)[:, None, None]
    x[3] = -0.0
    for row, value in enumerate(SPECIAL):
        x[:, row, 3 * row] = value
    loop = Loop(x.shape, 2)
    a = loop.load(x)
    loop.store(loop.fold("ReduceMax", a), row=True)
    loop.store(loop.fold("ReduceMin", a), row=True)
    assert_same(loop, target)


@EVERY_TARGET
@pytest.mark.parametrize("dtype", list(DType))
def test_copies_of_every_type(target: Target, dtype: DType) -> None:
    for shape, order in (((300,), None), ((3, 17, 40), (2, 0, 1))):
        loop = Loop(shape, len(shape))
        loop.store(loop.load(numbers(*shape, dtype=dtype), order))
        assert_same(loop, target, SPLITS_UNEVEN)


@EVERY_TARGET
def test_large_copies_in_blocks(target: Target) -> None:
    loop = Loop((20011,), 1)
    x = loop.load(numbers(20011))
    loop.store(loop.apply("Add", x, x))
    assert_same(loop, target, SPLITS_UNEVEN)
    loop = Loop((2, 9001), 2)
    x, y = loop.load(numbers(2, 9001)), loop.load(numbers(2, 1))
    loop.store(loop.apply("Mul", x, y))
    assert_same(loop, target, SPLITS_UNEVEN)


@EVERY_TARGET
@pytest.mark.parametrize("shift", [0, 4])
def test_stores_past_the_caches(
    monkeypatch: pytest.MonkeyPatch, target: Target, shift: int
) -> None:
    monkeypatch.setattr(sweep, "AROUND_BYTES", 0)
    loop = Loop((20013,), 1)
    x = loop.load(numbers(20013))
    loop.store(loop.apply("Add", x, x))
    (number, view), memory = loop.stores[0], np.resize(loop.buffers[-1], 20013 * 4 + 64)
    loop.buffers[-1], loop.stores[0] = memory, (number, replace(view, offset=shift))
    assert_same(loop, target, SPLITS_UNEVEN)


@EVERY_TARGET
@pytest.mark.parametrize("shape", [(50, 37), (3, 40, 90), (300, 5)])
def test_operands_along_another_axis_than_the_result(
    target: Target, shape: tuple[int, ...]
) -> None:
    loop = Loop(shape, len(shape))
    order = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    x, y = loop.load(numbers(*shape), order), loop.load(numbers(*shape, seed=1))
    bias = loop.load(numbers(*(1 for _ in shape[:-2]), shape[-2], 1))
    moved = loop.apply("Sub", loop.apply("Mul", x, bias), y)
    loop.store(loop.apply("Add", loop.apply("Exp", moved), x))
    assert_same(loop, target, SPLITS_UNEVEN)


@EVERY_TARGET
def test_flipped_strided_and_broadcast_views(target: Target) -> None:
    loop = Loop((6, 37), 2)
    x = loop.load(numbers(6, 37))
    base = loop.nodes[x]
    assert isinstance(base, Load)
    loop.buffers[0] = np.resize(loop.buffers[0], 6 * 37 * 8)
    flipped = View(0, base.view.type, (37, -1), 36)
    strided = View(0, base.view.type, (74, 2), 1)
    down = View(0, base.view.type, (-37, 0), 5 * 37)
    values = [x, *(loop.add(Load(each)) for each in (flipped, strided, down))]
    total = values[0]
    for each in values[1:]:
        total = loop.apply("Sub", total, each)
    loop.store(total)
    assert_same(loop, target, SPLITS_UNEVEN)


@EVERY_TARGET
def test_scalars_and_empty_loops(target: Target) -> None:
    loop = Loop((), 0)
    loop.store(loop.apply("Add", loop.load(numbers()), loop.add(Literal(2.0, DType.float32))))
    assert_same(loop, target)
    loop = Loop((), 0)
    loop.store(loop.fold("Sum", loop.load(np.array(-0.0, np.float32))), row=True)
    assert_same(loop, target)
    for shape, kept in (((0, 3), 2), ((3, 0), 2), ((0, 3), 1)):
        loop = Loop(shape, kept)
        x = loop.load(numbers(*shape))
        loop.store(loop.fold("Sum", x) if kept < 2 else x, row=kept < 2)
        assert_same(loop, target)


@EVERY_TARGET
def test_places_and_literals(target: Target) -> None:
    loop = Loop((5, 3, 20), 3)
    place = loop.add(Place((7, 0, -3), 11))
    masked = loop.apply("Less", place, loop.add(Literal(9, DType.int64)), dtype=DType.bool)
    x = loop.load(numbers(5, 3, 20))
    zero = loop.add(Literal(-0.0, DType.float32))
    loop.store(loop.apply("Where", masked, x, zero, dtype=DType.float32))
    loop.store(place)
    loop.store(zero)
    assert_same(loop, target, SPLITS_UNEVEN)


@EVERY_TARGET
def test_places_are_counted_along_folded_axes_too(target: Target) -> None:
    loop = Loop((4, 3, 10), 1)
    place = loop.add(Place((1, 10, 1)))
    along = loop.add(Place((0, 0, 1), -4))
    x = loop.load(numbers(4, 3, 10))
    picked = loop.apply("Equal", place, along, dtype=DType.bool)
    loop.store(loop.fold("Sum", loop.apply("Where", picked, x, x, dtype=DType.float32)), row=True)
    loop.store(loop.fold("ReduceMax", place), row=True)
    assert_same(loop, target)


UNARY: tuple[Callable[[Loop, int], int], ...] = (
    lambda loop, x: loop.apply("Neg", x),
    lambda loop, x: loop.apply("Mul", x, x),
    lambda loop, x: loop.apply("Exp", x),
)


def random_loop(seed: int) -> Loop:
    """A loop of some axes, nodes, folds and stores."""
    generator = np.random.default_rng(seed)
    rank = int(generator.integers(1, 5))
    shape = tuple(int(each) for each in generator.choice([1, 2, 3, 5, 8, 17, 33], rank))
    folds = bool(generator.integers(0, 3))
    kept = int(generator.integers(0, rank)) if folds else rank
    loop = Loop(shape, kept)
    for number in range(int(generator.integers(1, 4))):
        sizes = [1 if generator.random() < 0.25 else each for each in shape]
        order = generator.permutation(rank).tolist() if generator.random() < 0.5 else None
        loop.load(numbers(*sizes, seed=seed + number), order)
    for _ in range(int(generator.integers(1, 9))):
        a, b = (int(each) for each in generator.integers(0, len(loop.nodes), 2))
        choice = int(generator.integers(0, 6 if folds else 4))
        if choice < 2:
            loop.apply("Add" if choice else "Sub", a, b)
        elif choice < 4:
            UNARY[int(generator.integers(0, len(UNARY)))](loop, a)
        else:
            names = ["Sum", "Prod", "ReduceMax", "ReduceMin"]
            loop.fold(str(generator.choice(names)), a)
    order = generator.permutation(rank).tolist() if generator.random() < 0.3 else None
    for number in {len(loop.nodes) - 1, int(generator.integers(0, len(loop.nodes)))}:
        row = folds and belongs_to_kept(loop, number)
        loop.store(number, row=row, order=order)
    return loop


def belongs_to_kept(loop: Loop, number: int) -> bool:
    """Whether a node belongs to the kept axes, in the words of a LoopTask."""
    node = loop.nodes[number]
    if isinstance(node, Load):
        return not any(node.view.strides[loop.kept :])
    if isinstance(node, (Fold, Literal)):
        return True
    assert not isinstance(node, Place)
    return all(belongs_to_kept(loop, each) for each in node.operands)


@EVERY_TARGET
@pytest.mark.parametrize("seed", range(20))
def test_random_loops(target: Target, seed: int) -> None:
    assert_same(random_loop(seed), target, SPLITS_UNEVEN)


@pytest.mark.slow
@pytest.mark.parametrize("target", each_target())
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_many_random_loops(target: Target, seed: int) -> None:
    assert_same(random_loop(seed), target, SPLITS_UNEVEN)


def test_a_sum_of_sums_of_sums() -> None:
    """More than 4096 chunks."""
    size = 4096 * 4096 + 5
    target = targets()[-1]
    loop = Loop((size,), 0)
    x = loop.load(np.resize(numbers(99991), size))
    loop.store(loop.fold("Sum", x), row=True)
    assert_same(loop, target)


def test_equal_layers_share_a_kernel() -> None:
    first, second = softmax(numbers(3, 40)), softmax(numbers(3, 40, seed=5))
    moved = replace(second.task(), position=7)
    assert canonical(first.task())[0] == canonical(moved)[0]
    (one,), (two,) = lowered(first, AVX512)[0], lowered(second, AVX512)[0]
    assert one.kernel == two.kernel
    assert hash(one.kernel) == hash(two.kernel)


def test_constants_are_part_of_a_kernel() -> None:
    symbols: set[str] = set()
    for value in (0.0, -0.0, 1.0):
        loop = Loop((4,), 1)
        loop.store(
            loop.apply("Add", loop.load(numbers(4)), loop.add(Literal(value, DType.float32)))
        )
        symbols.add(lowered(loop, AVX512)[0][0].kernel.symbol)
    assert len(symbols) == 3


def test_axes_that_lie_as_one_are_merged() -> None:
    loop = Loop((2, 1, 3, 4), 4)
    loop.store(loop.load(numbers(2, 1, 3, 4)))
    form, _ = canonical(loop.task())
    assert form.outer == ()
    assert form.row == (24,)


@EVERY_TARGET
@pytest.mark.parametrize("dtype", [DType.float32, DType.bfloat16, DType.int32])
def test_few_long_rows_are_shared_out(target: Target, dtype: DType) -> None:
    for shape, kept in (((70001,), 0), ((2, 300, 500), 1)):
        loop = Loop(shape, kept)
        x = loop.load(numbers(*shape, dtype=dtype))
        total = loop.fold("Sum", loop.apply("Mul", x, x))
        loop.store(loop.apply("Add", total, loop.fold("ReduceMin", x)), row=True)
        assert len(lowered(loop, target, threads=2)[0]) == 2
        assert_same(loop, target, SPLITS_UNEVEN, threads=2)
    loop = moments(numbers(2, 70000, dtype=dtype))
    assert len(lowered(loop, target, threads=2)[0]) > 3
    assert_same(loop, target, SPLITS_UNEVEN, threads=2)


@EVERY_TARGET
@pytest.mark.parametrize("dtype", [DType.float32, DType.bfloat16, DType.int64])
def test_large_sums_of_columns_go_by_lanes(target: Target, dtype: DType) -> None:
    for size, count in ((4096 + 32, 64), (290, 1024)):
        x = numbers(size, count, dtype=dtype, seed=3)
        loop = Loop((count, size), 1)
        a = loop.load(np.ascontiguousarray(x.T), (1, 0))
        scale = loop.load(numbers(1, size, dtype=dtype))
        product = loop.apply("Mul", a, scale)
        loop.store(loop.fold("Sum", product), row=True)
        loop.store(loop.apply("Add", loop.fold("Sum", a), a) if size == 290 else a, order=(1, 0))
        assert len(lowered(loop, target, threads=64)[0]) > 1
        assert_same(loop, target, SPLITS_UNEVEN, threads=64)
