"""Identifiers that sort by time."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.ids import new_id

TIMES_MS = st.integers(min_value=0, max_value=2**48 - 1)
RANDOM = st.binary(min_size=10, max_size=10)


@given(TIMES_MS, RANDOM)
def test_an_id_is_a_prefix_and_26_digits_of_the_alphabet(time_ms: int, random: bytes) -> None:
    # + 0.5: floats just under a whole millisecond may round down to the one before.
    made = new_id("job", (time_ms + 0.5) / 1000, random)
    assert re.fullmatch(r"job_[0-9a-hjkmnp-tv-z]{26}", made)


@given(TIMES_MS, TIMES_MS, RANDOM, RANDOM)
def test_a_later_id_sorts_after_an_earlier_one(
    first_ms: int, second_ms: int, first_random: bytes, second_random: bytes
) -> None:
    first = new_id("job", (first_ms + 0.5) / 1000, first_random)
    second = new_id("job", (second_ms + 0.5) / 1000, second_random)
    if first_ms != second_ms:
        assert (first < second) == (first_ms < second_ms)
    else:
        assert (first < second) == (first_random < second_random)


def test_the_random_part_is_kept_whole() -> None:
    made = {new_id("key", 1.0, bytes(9) + bytes([last])) for last in range(256)}
    assert len(made) == 256


def test_more_random_bytes_than_needed_are_ignored() -> None:
    assert new_id("job", 1.0, bytes(10)) == new_id("job", 1.0, bytes(16))


def test_too_little_randomness_is_refused() -> None:
    with pytest.raises(ValueError, match="10 random bytes, got 9"):
        new_id("job", 1.0, bytes(9))
