import math

import pytest

from bcai.cli.figures import format_age, format_number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (True, "True"),
        (2.0, "2"),
        (0.98055, "0.9806"),
        (0.0, "0"),
        (12.34567891, "12.3457"),
        (1e-7, "1.000e-07"),
        (2.5e9, "2.500e+09"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_numbers_read_well(value: float, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0s"), (59.9, "59s"), (60, "1m"), (7200, "2h"), (900_000, "10d")]
)
def test_ages_are_short(seconds: float, text: str) -> None:
    assert format_age(seconds) == text
