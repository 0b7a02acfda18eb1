import math

from hypothesis import given
from hypothesis import strategies as st

from bcai.cli.sparkline import sparkline


def test_it_follows_the_values() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"


def test_it_leaves_a_gap_where_a_value_is_not_a_number() -> None:
    assert sparkline([1.0, math.nan, 2.0], 3) == "▁ █"


def test_nothing_to_draw_is_empty() -> None:
    assert sparkline([], 10) == ""
    assert sparkline([math.nan, math.inf], 10) == ""


@given(st.lists(st.floats(), max_size=200), st.integers(1, 40))
def test_it_never_takes_more_room_than_it_has(values: list[float], width: int) -> None:
    assert len(sparkline(values, width)) <= width


def test_the_largest_numbers_are_drawn_too() -> None:
    assert sparkline([-1.7e308, 1.7e308], 2) == "▁█"
    assert len(sparkline([1.7e308] * 4, 2)) == 2
