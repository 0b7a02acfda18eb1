"""Every listed OpInfo sample passes; no other does; the page says so."""

from collections.abc import Callable, Sequence

import pytest
import torch
from tests.conformance.torch.allow_list import COMMAND, LIST, PAGE, Entry, listed, page, sweep
from tests.conformance.torch.opinfo import (
    Sample,
    entries,
    forward_error,
    gradient_error,
    reason_of,
    samples,
)

TOGETHER = 8
"""Entries that are exported as one program, since each export takes a while."""

Check = Callable[[Sequence[Sample]], str]


def _chunks() -> list[list[Entry]]:
    return [listed()[start : start + TOGETHER] for start in range(0, len(listed()), TOGETHER)]


def _first_name(chunk: list[Entry]) -> str:
    return chunk[0].name


def _failing(check: Check, chosen: dict[str, list[Sample]]) -> dict[str, str]:
    """Reasons by entry: all together, and one by one if something is wrong."""
    there = {name: each for name, each in chosen.items() if each}
    if not there or not reason_of(check, [each for some in there.values() for each in some]):
        return {}
    found = {name: reason_of(check, some) for name, some in there.items()}
    return {name: reason for name, reason in found.items() if reason}


@pytest.mark.parametrize("chunk", _chunks(), ids=_first_name)
def test_listed_results(chunk: list[Entry]) -> None:
    chosen = {each.name: _chosen(each.name, torch.float32, each.forward) for each in chunk}
    assert _failing(forward_error, chosen) == {}


@pytest.mark.parametrize("chunk", _chunks(), ids=_first_name)
def test_listed_gradients(chunk: list[Entry]) -> None:
    chosen = {each.name: _chosen(each.name, torch.float64, each.gradient) for each in chunk}
    assert _failing(gradient_error, chosen) == {}


def _chosen(name: str, dtype: torch.dtype, numbers: tuple[int, ...]) -> list[Sample]:
    drawn = samples(name, dtype) if numbers else []
    return [drawn[number] for number in numbers]


def test_list_is_sorted_and_long() -> None:
    names = [each.name for each in listed()]
    assert names == sorted(set(names)), f"{LIST.name} is not sorted: {COMMAND}"
    assert len(names) >= 200


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_list_and_page_are_exact() -> None:
    found = list(sweep(sorted(entries()), workers=2))
    kept = {each.entry.name: each.entry for each in found if each.entry.forward}
    assert kept == {each.name: each for each in listed()}, f"write it again: {COMMAND}"
    assert PAGE.read_text() == page(found), f"the page is out of date: {COMMAND}"
