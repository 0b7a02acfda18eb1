"""Matrix products, bit for bit as the definition has them."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from tests.unit.vm.backends.native.harness import (
    SPLITS_UNEVEN,
    SPLITS_WHOLE,
    aligned,
    each_target,
    run_launches,
    targets,
)

from bcai.vm.backends.native.kernels import contraction, contraction_vector
from bcai.vm.backends.native.kernels.contraction import contract
from bcai.vm.backends.native.lowering import Scope
from bcai.vm.backends.native.target import AVX512, Target
from bcai.vm.compiler.plan import Buffer, OpTask, Role, View, row_major
from bcai.vm.isa.ops.contract import matmul
from bcai.vm.isa.types import Array, DType, TensorType

GUARD_BYTES, UNTOUCHED = 256, 0xCB


def multiply(
    a: Array,
    b: Array,
    target: Target,
    *,
    splits: Sequence[float] = SPLITS_WHOLE,
    threads: int = 1,
    result_order: Sequence[int] | None = None,
    spread: int = 1,
) -> Array:
    """Run the native product of two arrays as they lie in memory."""
    shape = np.matmul(np.zeros(a.shape, np.int8), np.zeros(b.shape, np.int8)).shape
    order = list(result_order if result_order is not None else range(len(shape)))
    memory = row_major(tuple(shape[axis] for axis in order))
    strides = [0] * len(shape)
    for axis, stride in zip(order, memory, strict=True):
        strides[axis] = stride * spread
    dtype = DType.of(a.dtype)
    elements = max(1, math.prod(shape) * spread)
    left, left_memory = view_of(a, 0)
    right, right_memory = view_of(b, 1)
    result = View(2, TensorType(dtype, shape), tuple(strides))
    sizes = (left_memory.nbytes, right_memory.nbytes, elements * dtype.itemsize)
    scope = Scope(
        target,
        threads,
        [Buffer(number, nbytes, Role.TEMPORARY) for number, nbytes in enumerate(sizes)],
    )
    task = OpTask(matmul, {}, (left, right), (result,), 0)
    made = contract(task, scope)
    assert made is not None
    launches = [*scope.launches, *made]
    room = [aligned(each.nbytes + GUARD_BYTES) for each in scope.buffers[2:]]
    assert run_launches(launches, [left_memory, right_memory, *room], target, splits) == 0
    assert all((each[-GUARD_BYTES:] == UNTOUCHED).all() for each in room), "written beyond the end"
    whole: Array = room[0][:-GUARD_BYTES].view(dtype.numpy)
    steps = [each * dtype.itemsize for each in strides]
    placed: Array = np.lib.stride_tricks.as_strided(whole, shape, steps)
    got = placed.copy()
    placed[...] = np.frombuffer(bytes([UNTOUCHED] * dtype.itemsize), dtype.numpy)
    assert (room[0] == UNTOUCHED).all(), "written between the elements"
    return got


def view_of(x: Array, number: int) -> tuple[View, Array]:
    """An array as a view of its own memory, copied to where it ends with its last element."""
    size = x.dtype.itemsize
    strides = tuple(each // size for each in x.strides)
    spans = [(count - 1) * stride for count, stride in zip(x.shape, strides, strict=True)]
    low, high = sum(min(0, each) for each in spans), sum(max(0, each) for each in spans)
    memory = np.zeros(max(1, high - low + 1 if x.size else 1), x.dtype)
    if x.size:
        place = np.lib.stride_tricks.as_strided(memory[-low:], x.shape, x.strides)
        place[...] = x
    return View(number, TensorType(DType.of(x.dtype), x.shape), strides, -low), memory


def same(got: Array, expected: Array) -> None:
    """Equal bits, any not-a-number for any other."""
    assert got.shape == expected.shape
    nan = np.isnan(expected) if expected.dtype.kind != "i" and expected.dtype.kind != "u" else None
    if nan is not None:
        assert np.array_equal(np.isnan(got), nan)
        got, expected = np.where(nan, 0, got), np.where(nan, 0, expected)
    assert got.tobytes() == expected.astype(got.dtype).tobytes()


def numbers(seed: int, shape: Sequence[int], dtype: str = "float32") -> Array:
    """Normal numbers."""
    return np.random.default_rng(seed).standard_normal(tuple(shape)).astype(DType.of(dtype).numpy)


LAYOUTS = ("NN", "NT", "TN", "TT")


def laid_out(x: Array, layout: str) -> Array:
    """The same matrices, row-major or column-major."""
    return x if layout == "N" else np.swapaxes(np.swapaxes(x, -1, -2).copy(), -1, -2)


@pytest.mark.parametrize("target", each_target())
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("rows", "depth", "columns"),
    [
        (1, 1, 1),
        (3, 5, 7),
        (15, 17, 33),
        (29, 20, 64),
        (2, 3, 16),
        (1, 40, 70),
        (40, 9, 1),
        (7, 0, 5),
    ],
)
def test_small_ragged(
    target: Target, layout: str, dtype: str, rows: int, depth: int, columns: int
) -> None:
    a = laid_out(numbers(1, (rows, depth), dtype), layout[0])
    b = laid_out(numbers(2, (depth, columns), dtype), layout[1])
    same(multiply(a, b, target), matmul.body(a, b))


@pytest.mark.parametrize("target", each_target())
@pytest.mark.parametrize("depth", [511, 512, 513, 1030])
def test_blocks_of_k(target: Target, depth: int) -> None:
    a, b = numbers(3, (5, depth)), numbers(4, (depth, 37))
    same(multiply(a, b, target), matmul.body(a, b))


@pytest.mark.parametrize("target", each_target())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values(target: Target, dtype: str) -> None:
    real = DType.of(dtype).numpy.type
    least = np.finfo(real).smallest_subnormal
    pool = np.array(
        [
            0.0,
            -0.0,
            1.0,
            -1.0,
            np.inf,
            -np.inf,
            np.nan,
            least,
            -3 * least,
            np.finfo(real).max,
            1e-30,
        ],
        real,
    )
    random = np.random.default_rng(5)
    for chosen in (pool, pool[[0, 1, 2, 3]], pool[[1, 2]], pool[[0, 1, 7, 8, 10]]):
        a, b = random.choice(chosen, (17, 9)), random.choice(chosen, (9, 35))
        same(multiply(a, b, target), matmul.body(a, b))


BATCHES = [
    ((3, 4, 5), (3, 5, 6)),
    ((3, 4, 5), (5, 6)),
    ((4, 5), (3, 5, 6)),
    ((2, 1, 4, 5), (3, 5, 16)),
    ((2, 3, 1, 5), (1, 3, 5, 6)),
    ((5,), (5,)),
    ((3, 5), (5,)),
    ((2, 3, 5), (5,)),
    ((5,), (5, 7)),
    ((5,), (2, 5, 7)),
    ((2, 3, 4, 5), (2, 3, 5, 6)),
    ((0, 5), (5, 3)),
    ((2, 0, 4, 5), (5, 3)),
    ((2, 0), (0, 3)),
    ((0,), (0,)),
]


@pytest.mark.parametrize("target", each_target())
@pytest.mark.parametrize(("left", "right"), BATCHES)
def test_batches(target: Target, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    a, b = numbers(6, left), numbers(7, right)
    same(multiply(a, b, target, splits=SPLITS_UNEVEN, threads=2), matmul.body(a, b))


@pytest.mark.parametrize("target", each_target())
@pytest.mark.parametrize(("rows", "depth", "columns"), [(4, 6, 4), (40, 33, 70), (90, 513, 40)])
def test_batches_of_one_matrix(target: Target, rows: int, depth: int, columns: int) -> None:
    one, other = numbers(8, (rows, depth)), numbers(9, (depth, columns))
    left, right = (
        np.broadcast_to(one, (3, rows, depth)),
        np.broadcast_to(other, (3, depth, columns)),
    )
    expected = matmul.body(one, other)
    for order in ((0, 1, 2), (0, 2, 1)):
        got = multiply(left, right, target, result_order=order)
        same(got, np.broadcast_to(expected, (3, rows, columns)))
    several = numbers(10, (3, depth, columns))
    for order in ((0, 1, 2), (0, 2, 1), (2, 0, 1)):
        got = multiply(left, several, target, result_order=order)
        same(got, matmul.body(left, several))


@pytest.mark.parametrize("target", each_target())
@pytest.mark.parametrize("spread", [1, 2])
@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 0, 1), (1, 2, 0)])
def test_result_of_any_strides(target: Target, order: tuple[int, ...], spread: int) -> None:
    a, b = numbers(8, (3, 17, 5)), numbers(9, (3, 5, 33))
    got = multiply(a, b, target, result_order=order, spread=spread)
    same(got, matmul.body(a, b))


@pytest.mark.parametrize("target", each_target())
def test_operands_of_any_strides(target: Target) -> None:
    a, b = numbers(10, (2, 34, 3, 20)), numbers(11, (2, 20, 3, 66))
    pairs = [
        (a[:, ::2, 1, ::-1], b[::-1, :, 0, 1::2]),
        (a[0, ::-1, 0, :].T[:, ::3].T, b[1, :, :, ::2].transpose(1, 0, 2)),
        (np.broadcast_to(a[0, 0, 0], (4, 20)), b[0, :, 2, ::-1]),
        (a[0, :, 0, :1].repeat(20, 1), np.broadcast_to(b[0, :1, 0, :16], (20, 16))),
        (a[:, :, 0, 3], b[0, ::10, 1, :].T[:, :1].repeat(1, 0)[:34, 0]),
    ]
    for left, right in pairs:
        same(multiply(left, right, target), matmul.body(left, right))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(1, 700, 200), (40, 1025, 96), (90, 520, 300), (200, 64, 1)])
def test_bits_do_not_depend_on_target_threads_or_split(
    layout: str, shape: tuple[int, int, int]
) -> None:
    rows, depth, columns = shape
    a = laid_out(numbers(12, (rows, depth)), layout[0])
    b = laid_out(numbers(13, (depth, columns)), layout[1])
    first, *others = (
        multiply(a, b, target, splits=splits, threads=threads)
        for target in targets()
        for splits, threads in ((SPLITS_WHOLE, 1), (SPLITS_UNEVEN, 2), (SPLITS_UNEVEN, 7))
        if target.fused or splits
    )
    for other in others:
        same(other, first)


@pytest.mark.parametrize("target", each_target())
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(1, 530, 150), (1, 37, 3), (150, 40, 1), (1, 1024, 21)])
def test_vectors(target: Target, layout: str, shape: tuple[int, int, int]) -> None:
    rows, depth, columns = shape
    a = laid_out(numbers(14, (rows, depth)), layout[0])
    b = laid_out(numbers(15, (depth, columns)), layout[1])
    expected = matmul.body(a, b)
    same(multiply(a, b, target, splits=SPLITS_UNEVEN, threads=2), expected)
    same(multiply(a, b, target, spread=3), expected)


@pytest.mark.parametrize("target", each_target())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("depth", "columns"), [(512, 37), (1024, 1), (1024, 40), (1536, 3), (4096, 18)]
)
def test_columns_in_one_set_of_a_cache(
    target: Target, dtype: str, depth: int, columns: int
) -> None:
    a, apart = numbers(23, (1, depth), dtype), -(-depth // 1024) * 1024
    b = numbers(24, (columns, apart), dtype)[:, :depth].T
    b[:, 0] = -0.0
    b[depth // 2, columns - 1] = np.inf
    expected = matmul.body(a, b)
    for threads in (1, 2):
        same(multiply(a, b, target, splits=SPLITS_UNEVEN, threads=threads), expected)
    same(multiply(a, b, target, spread=3), expected)
    same(multiply(b.T, a.T, target, threads=2), expected.T)


@pytest.mark.parametrize("target", each_target())
def test_lanes_are_skewed_where_columns_are_in_one_set(target: Target) -> None:
    for depth, skewed in ((1024, target.fused), (1040, False), (1000, False), (16_384, False)):
        scope = Scope(target, 1, [])
        left, right, result = (
            View(number, TensorType(DType.float32, shape), strides)
            for number, shape, strides in (
                (0, (1, depth), (depth, 1)),
                (1, (depth, 32), (1, depth)),
                (2, (1, 32), (32, 1)),
            )
        )
        made = contract(OpTask(matmul, {}, (left, right), (result,), 0), scope)
        assert made is not None
        assert [each.kernel.symbol.endswith("skewed") for each in made] == [skewed]


@pytest.mark.parametrize("target", each_target())
@pytest.mark.parametrize("depth", [5, 530])
def test_large_matrix_times_vector(
    monkeypatch: pytest.MonkeyPatch, target: Target, depth: int
) -> None:
    monkeypatch.setattr(contraction_vector, "STRIP_BYTES_MIN", 0)
    a, b = numbers(21, (2, 1, depth)), numbers(22, (2, depth, 430))
    expected = matmul.body(a, b)
    for threads in (1, 2):
        same(multiply(a, b, target, splits=SPLITS_UNEVEN, threads=threads), expected)
    same(multiply(a, b, target, spread=2), expected)


@pytest.mark.parametrize("target", each_target())
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_narrow_floats_are_rounded_once(target: Target, dtype: str, layout: str) -> None:
    a = laid_out(numbers(16, (2, 17, 40), dtype), layout[0])
    b = laid_out(numbers(17, (40, 21), dtype), layout[1])
    a[0, 0, :3] = np.inf, np.nan, -0.0
    a[1, 3] *= np.float32(1e-4)
    a[1, 4] = np.float32(3e4)
    expected = matmul.body(a, b)
    same(multiply(a, b, target, result_order=(0, 2, 1), splits=SPLITS_UNEVEN), expected)
    wide = np.broadcast_to(a[0, :1], (3, 40))
    same(multiply(wide, b[::-1, ::-2], target, spread=2), matmul.body(wide, b[::-1, ::-2]))
    same(multiply(a[:, :, :0], b[:0], target), matmul.body(a[:, :, :0], b[:0]))


@pytest.mark.parametrize("target", each_target())
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("rows", "depth", "columns"),
    [(5, 13, 70), (1, 530, 150), (31, 520, 130), (40, 9, 1), (3, 0, 5), (1, 1, 1)],
)
def test_integers_wrap(
    target: Target, dtype: str, layout: str, rows: int, depth: int, columns: int
) -> None:
    real = DType.of(dtype).numpy
    limits = np.iinfo(real)
    random = np.random.default_rng(18)
    a = random.integers(limits.min, limits.max, (2, rows, depth), real, endpoint=True)
    b = random.integers(limits.min, limits.max, (depth, columns), real, endpoint=True)
    a, b = laid_out(a, layout[0]), laid_out(b, layout[1])
    expected = matmul.body(a, b)
    for threads in (1, 2):
        same(multiply(a, b, target, splits=SPLITS_UNEVEN, threads=threads), expected)
    same(multiply(a, b, target, result_order=(2, 0, 1), spread=2), expected)
    same(
        multiply(a[:, ::-1, ::2], b[::2, ::-3], target), matmul.body(a[:, ::-1, ::2], b[::2, ::-3])
    )


@pytest.mark.parametrize("target", each_target())
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("direct_panels", [0, 100])
@pytest.mark.parametrize("shared_bytes", [0, 1 << 30])
def test_every_form_and_cut(
    monkeypatch: pytest.MonkeyPatch,
    target: Target,
    layout: str,
    direct_panels: int,
    shared_bytes: int,
) -> None:
    monkeypatch.setattr(contraction, "DIRECT_PANELS", direct_panels)
    monkeypatch.setattr(contraction, "SHARED_BYTES_MAX", shared_bytes)
    monkeypatch.setattr(contraction, "THREAD_MULTIPLICATIONS", 100)
    a = laid_out(numbers(19, (45, 23)), layout[0])
    b = laid_out(numbers(20, (23, 80)), layout[1])
    expected = matmul.body(a, b)
    for threads in (1, 2, 5):
        same(multiply(a, b, target, splits=SPLITS_UNEVEN, threads=threads), expected)


def test_a_right_operand_is_packed_once_for_all_products_that_use_it() -> None:
    scope = Scope(AVX512, 1, [Buffer(each, 1 << 16, Role.TEMPORARY) for each in range(4)])
    type_ = TensorType(DType.float32, (40, 40))
    left, right, one, other = (View(each, type_, (40, 1)) for each in range(4))
    for result in (one, other):
        contract(OpTask(matmul, {}, (left, right), (result,), 0), scope)
    assert len(scope.launches) == 1
