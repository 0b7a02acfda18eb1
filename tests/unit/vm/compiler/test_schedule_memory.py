"""Arenas: what lives together does not overlap, and little is wasted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcai.vm.compiler import schedule_memory as module
from bcai.vm.compiler.schedule_memory import (
    ALIGNMENT,
    LARGE_MIN,
    PAGE,
    Step,
    live_bytes_max,
    schedule_memory,
)

STEPS = st.lists(
    st.tuples(st.sets(st.integers(0, 30), max_size=4), st.sets(st.integers(0, 30), max_size=2)),
    max_size=40,
)
SIZES = st.dictionaries(
    st.integers(0, 30), st.sampled_from((0, 1, 64, 100, 5000, LARGE_MIN, LARGE_MIN + 1)), min_size=1
)


def lifetimes(steps: list[Step], number: int) -> tuple[int, int] | None:
    at = [place for place, (reads, writes) in enumerate(steps) if number in {*reads, *writes}]
    return (at[0], at[-1]) if at else None


@settings(deadline=None)
@given(SIZES, STEPS, st.booleans())
def test_what_lives_together_does_not_overlap(
    sizes: dict[int, int], steps: list[Step], by_time: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if by_time:
            patch.setattr(module, "BY_SIZE_MAX", -1)
        arena = schedule_memory(sizes, steps)
    assert arena.nbytes >= live_bytes_max(sizes, steps)
    placed = {number: lifetimes(steps, number) for number in sizes if sizes[number]}
    for number, life in placed.items():
        start = arena.offsets[number]
        if life is None:
            continue
        assert start % (PAGE if sizes[number] >= LARGE_MIN else ALIGNMENT) == 0
        assert start + sizes[number] <= arena.nbytes
        for other, its in placed.items():
            if other == number or its is None or its[1] < life[0] or its[0] > life[1]:
                continue
            begin = arena.offsets[other]
            assert begin + sizes[other] <= start or start + sizes[number] <= begin


@settings(deadline=None)
@given(SIZES, STEPS, st.booleans())
def test_only_what_ends_and_what_begins_in_a_step_share_memory(
    sizes: dict[int, int], steps: list[Step], by_time: bool
) -> None:
    """Every pair that a step could name: still no byte is another buffer's while it is needed."""
    pairs = [[(a, b) for a in reads for b in writes] for reads, writes in steps]
    pairs = [[(a, b) for a, b in each if a in sizes and b in sizes] for each in pairs]
    with pytest.MonkeyPatch.context() as patch:
        if by_time:
            patch.setattr(module, "BY_SIZE_MAX", -1)
        arena = schedule_memory(sizes, steps, pairs)
    placed = {number: lifetimes(steps, number) for number in sizes if sizes[number]}
    for number, life in placed.items():
        for other, its in placed.items():
            if number == other or life is None or its is None:
                continue
            if its[0] > life[1] or its[1] < life[0]:
                continue
            begin, start = arena.offsets[other], arena.offsets[number]
            if begin + sizes[other] <= start or start + sizes[number] <= begin:
                continue
            handed_on = life[1] == its[0] and (number, other) in pairs[its[0]]
            taken = its[1] == life[0] and (other, number) in pairs[life[0]]
            assert handed_on or taken
            assert begin == start
            assert sizes[number] == sizes[other]


def test_a_chain_in_place_is_one_block_and_nothing_is_given_twice() -> None:
    sizes = dict.fromkeys(range(4), 256)
    steps: list[Step] = [([], [0]), ([0], [1]), ([1], [2, 3]), ([2, 3], [])]
    arena = schedule_memory(sizes, steps, [[], [(0, 1)], [(1, 2), (1, 3)], []])
    assert arena.offsets[0] == arena.offsets[1] == arena.offsets[2] != arena.offsets[3]
    assert arena.nbytes == 512
    again: list[Step] = [*steps, ([1], [])]  # read later than the step that would overwrite it
    kept = schedule_memory(sizes, again, [[], [(0, 1)], [(1, 2), (1, 3)], []])
    assert len({kept.offsets[each] for each in (1, 2, 3)}) == 3


def test_what_was_there_before_or_is_made_in_the_same_step_is_not_shared() -> None:
    sizes = dict.fromkeys(range(3), 256)
    older: list[Step] = [([], [0, 1]), ([0], [1]), ([1], [])]
    arena = schedule_memory(sizes, older, [[], [(0, 1)], []])
    assert arena.offsets[0] != arena.offsets[1]
    within: list[Step] = [([], [0]), ([0, 1], [1, 2]), ([2], [])]
    arena = schedule_memory(sizes, within, [[], [(0, 1), (1, 2)], []])
    assert arena.offsets[0] == arena.offsets[1] != arena.offsets[2]


def chain(count: int, kept: int) -> tuple[dict[int, int], list[Step]]:
    """Steps that each read the last result; every `kept`-th result is read again, last first."""
    random = np.random.default_rng(0)
    sizes = {number: int(size) for number, size in enumerate(random.integers(1, 9, count) * 4096)}
    steps: list[Step] = [([max(0, number - 1)], [number]) for number in range(count)]
    steps += [([number], []) for number in reversed(range(0, count, kept))]
    return sizes, steps


@pytest.mark.parametrize("by_time", [False, True])
def test_little_is_wasted(by_time: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if by_time:
        monkeypatch.setattr(module, "BY_SIZE_MAX", -1)
    sizes, steps = chain(300, 3)
    arena = schedule_memory(sizes, steps)
    assert arena.nbytes <= 1.15 * live_bytes_max(sizes, steps)
    assert arena.nbytes < 0.5 * sum(sizes.values())


def test_equal_sizes_are_placed_without_waste() -> None:
    steps: list[Step] = [([number - 1], [number]) for number in range(1, 20_000)]
    sizes = dict.fromkeys(range(20_000), 256)
    assert schedule_memory(sizes, steps).nbytes == live_bytes_max(sizes, steps) == 512
