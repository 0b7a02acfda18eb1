"""Results in the memory of operands: where that is allowed, and that it must not be elsewhere."""

from collections.abc import Callable

import numpy as np
import pytest
from tests.unit.vm.backends.native.harness import SPLITS_UNEVEN, each_target
from tests.unit.vm.backends.native.loop_definition import (
    Loop,
    assert_same,
    compare,
    defined,
    lowered,
    results,
)

from bcai.vm.backends.native.layout import lay_out
from bcai.vm.backends.native.prepare import plan
from bcai.vm.backends.native.steps import lower_plan
from bcai.vm.backends.native.target import Target
from bcai.vm.compiler.expand import expand
from bcai.vm.compiler.plan import Load, Role, View
from bcai.vm.isa.types import Array
from bcai.vm.program.builder import Builder

EVERY_TARGET = pytest.mark.parametrize("target", each_target())


def numbers(*shape: int) -> Array:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def pairs(loop: Loop, target: Target, threads: int = 1) -> list[tuple[int, int]]:
    launches, _ = lowered(loop, target, threads)
    return [pair for launch in launches for pair in launch.in_place]


def softmax(count: int, size: int) -> Loop:
    loop = Loop((count, size), 1)
    x = loop.load(numbers(count, size))
    e = loop.apply("Exp", loop.apply("Sub", x, loop.fold("ReduceMax", x)))
    loop.store(loop.apply("Div", e, loop.fold("Sum", e)))
    return loop


def centred(count: int, size: int, order: tuple[int, ...] | None = None) -> Loop:
    loop = Loop((count, size), 1)
    x = loop.load(numbers(count, size), order)
    loop.store(loop.apply("Sub", x, loop.fold("Sum", x)), order=order)
    return loop


def doubled(*shape: int) -> Loop:
    loop = Loop(shape, len(shape))
    x = loop.load(numbers(*shape))
    loop.store(loop.apply("Add", x, x))
    return loop


def read_again_later(count: int, size: int) -> Loop:
    """Buffer 1 is stored before the row's sum is known, buffer 2 after it."""
    loop = Loop((count, size), 1)
    x = loop.load(numbers(count, size))
    loop.store(loop.apply("Neg", x))
    loop.store(loop.apply("Sub", x, loop.fold("Sum", x)))
    return loop


def turned(size: int) -> Loop:
    """A row plus the same row from its end on: one buffer, two views."""
    loop = Loop((size,), 1)
    x = loop.load(numbers(size))
    node = loop.nodes[x]
    assert isinstance(node, Load)
    view = node.view
    back = loop.add(Load(View(view.buffer, view.type, (-1,), size - 1)))
    loop.store(loop.apply("Add", x, back))
    return loop


def backwards(size: int) -> Loop:
    loop = Loop((size,), 1)
    x = loop.load(numbers(size))
    node = loop.nodes[x]
    assert isinstance(node, Load)
    view = node.view
    loop.nodes[x] = Load(View(view.buffer, view.type, (-1,), size - 1))
    loop.store(loop.apply("Neg", x))
    return loop


def along_the_row(count: int, size: int) -> Loop:
    """An operand of one element a row, beside one of the row's."""
    loop = Loop((count, size), 2)
    loop.store(loop.apply("Add", loop.load(numbers(count, 1)), loop.load(numbers(count, size))))
    return loop


def transposed(size: int) -> Loop:
    loop = Loop((size, size), 2)
    loop.store(loop.apply("Neg", loop.load(numbers(size, size), (1, 0))))
    return loop


ALLOWED: dict[str, tuple[Callable[[], Loop], list[tuple[int, int]]]] = {
    "softmax": (lambda: softmax(7, 512), [(0, 1)]),
    "softmax of rows of several chunks": (lambda: softmax(3, 4096 + 64), [(0, 1)]),
    "elements": (lambda: doubled(40, 64), [(0, 1)]),
    "blocks of one row": (lambda: doubled(3 * 4096 + 64), [(0, 1)]),
    "the later of two results": (lambda: read_again_later(5, 64), [(0, 2)]),
    "the operand that varies along the row": (lambda: along_the_row(40, 64), [(1, 2)]),
}
REFUSED: dict[str, Callable[[], Loop]] = {
    "vectors overlap": lambda: doubled(4099),
    "vectors of a row overlap": lambda: centred(7, 49),
    "columns": lambda: centred(49, 7, (1, 0)),
    "two views": lambda: turned(64),
    "another order": lambda: backwards(64),
    "transposed": lambda: transposed(35),
}


@EVERY_TARGET
@pytest.mark.parametrize("name", ALLOWED)
def test_where_it_is_allowed_the_bits_are_the_same(target: Target, name: str) -> None:
    make, expected = ALLOWED[name]
    assert pairs(make(), target) == expected
    assert_same(make(), target, SPLITS_UNEVEN)


@EVERY_TARGET
@pytest.mark.parametrize("name", REFUSED)
def test_where_it_is_not_it_would_be_wrong(target: Target, name: str) -> None:
    loop = REFUSED[name]()
    assert pairs(loop, target) == []
    with pytest.raises(AssertionError, match="differ"):
        compare(loop, results(loop, target, pairs=[(0, 1)]), defined(loop))


@EVERY_TARGET
def test_a_result_before_the_last_pass_would_be_wrong(target: Target) -> None:
    loop = read_again_later(5, 64)
    with pytest.raises(AssertionError, match="differ"):
        compare(loop, results(loop, target, pairs=[(0, 1)]), defined(loop))


@EVERY_TARGET
def test_attention_weights_lie_where_the_scores_lay(target: Target) -> None:
    build = Builder()
    q, k, v = (build.input(name, "float32[1,2,64,32]") for name in "qkv")
    verified = build.finish(y=q.emit("Attention", k, v))
    layout = lay_out(lower_plan(plan(expand(verified)), target, 2))
    scores = 2 * 64 * 64 * 4
    large = [
        layout.arena.offsets[each.number]
        for each in layout.buffers
        if each.role is Role.TEMPORARY and each.nbytes == scores
    ]
    assert len(large) == 2
    assert large[0] == large[1]
