"""Sizes and durations as people write them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.errors import FormatError
from bcai.base.units import (
    GIB,
    KIB,
    MIB,
    format_duration_s,
    format_limit,
    format_size,
    parse_duration_s,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("17", 17),
        ("8GB", 8_000_000_000),
        ("8 gb", 8_000_000_000),
        ("8GiB", 8 * GIB),
        ("8G", 8 * GIB),
        ("512MiB", 512 * MIB),
        ("1.5KiB", 1536),
        (" 2 kb ", 2000),
        ("1TiB", 1024 * GIB),
        (4096, 4096),
    ],
)
def test_a_size_is_read(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "8 apples", "-1", "1e9", "8GB 1MB", "0x10", "8GB\nx"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(FormatError, match=r"not a size: .*expected .*'8GB'"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("2d", 172_800),
        ("1.5h", 5400),
        ("12", 12),
        (" 5M ", 300),
        (7, 7),
        (0.5, 0.5),
    ],
)
def test_a_duration_is_read(text: str | float, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "1h 30m", "-5s", "5 minutes", "1h30", "m5"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(FormatError, match=r"not a duration: .*expected such as '90s'"):
        parse_duration_s(text)


@given(st.integers(min_value=0, max_value=2**50))
def test_a_printed_size_reads_back_within_its_rounding(size: int) -> None:
    printed = format_size(size)
    unit = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": 1024 * GIB}[printed.split()[1]]
    # One decimal is printed, so half of a tenth of the unit is lost at most.
    assert abs(parse_size(printed) - size) <= unit * 0.05 + 1


@given(st.floats(min_value=0, max_value=1e7))
def test_a_printed_duration_reads_back_within_its_rounding(seconds: float) -> None:
    printed = format_duration_s(seconds)
    read = parse_duration_s(printed.replace(" ", ""))
    smallest = 60 if "h" in printed else 1 if re.search(r"\dm ", printed) else 0.1
    assert abs(read - seconds) <= smallest


@pytest.mark.parametrize(
    ("seconds", "printed"),
    [(0.0421, "42 ms"), (2.34, "2.3 s"), (75.2, "1m 15s"), (59.99, "60.0 s"), (5400, "1h 30m")],
)
def test_a_duration_is_printed_for_people(seconds: float, printed: str) -> None:
    assert format_duration_s(seconds) == printed


@pytest.mark.parametrize(
    "text",
    [
        "2 GB",
        "2.5 GB",
        "512 MB",
        "64 kB",
        "2.0 GiB",
        "512.0 MiB",
        "1000.0 MiB",
        "1000.0 KiB",
        "5 B",
    ],
)
def test_a_limit_is_printed_in_the_unit_that_it_was_given_in(text: str) -> None:
    assert format_limit(parse_size(text)) == text


@given(st.integers(0, 1 << 50))
def test_a_limit_reads_back_as_well_as_a_size(size: int) -> None:
    rounding = abs(parse_size(format_size(size)) - size)
    assert abs(parse_size(format_limit(size)) - size) <= rounding
