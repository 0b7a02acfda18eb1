"""Which level satisfies which security level: a stronger jail is always enough."""

from itertools import pairwise, product

import pytest

from bcai.bridge.sandbox.level import (
    LEVELS,
    SECURITY_LEVELS,
    JailReport,
    in_words,
    is_enough,
    runs_programs,
    said_aloud,
    weaker,
)


def test_what_each_security_level_accepts() -> None:
    accepted = {
        asked: "".join(level[0] for level in LEVELS if is_enough(level, asked))
        for asked in SECURITY_LEVELS
    }
    assert accepted == {"high": "AB", "standard": "ABC", "trusted": "ABCn"}


@pytest.mark.parametrize("asked", SECURITY_LEVELS)
def test_a_stronger_jail_is_never_less_enough(asked: str) -> None:
    for stronger, less in pairwise(LEVELS):
        assert is_enough(stronger, asked) or not is_enough(less, asked)


def test_a_level_that_nobody_knows_is_no_jail() -> None:
    assert not is_enough("Z", "standard")
    assert is_enough("Z", "trusted")


@pytest.mark.parametrize(("one", "other"), list(product(LEVELS, LEVELS)))
def test_the_weaker_of_two_is_enough_for_nothing_that_one_is_not(one: str, other: str) -> None:
    found = weaker(one, other)
    assert found == weaker(other, one)
    for asked in SECURITY_LEVELS:
        assert is_enough(found, asked) == (is_enough(one, asked) and is_enough(other, asked))


def test_programs_start_for_those_who_ask_and_never_at_level_c() -> None:
    starting = {pair for pair in product(LEVELS, SECURITY_LEVELS) if runs_programs(*pair)}
    assert starting == set(product(("A", "B", "none"), ("standard", "trusted")))


def test_a_trusted_job_is_said_aloud_whatever_stood() -> None:
    assert "without any wall" in said_aloud(JailReport("none", asked="trusted"))[0]
    assert "level A" in said_aloud(JailReport("A", asked="trusted"))[0]
    assert said_aloud(JailReport("C", asked="standard")) == []


def test_a_log_names_level_walls_and_limits() -> None:
    report = JailReport("C", ("seccomp",), {"memory_bytes": 4294967297.0}, asked="standard")
    words = in_words(report)
    for part in ("jail C", "asked for standard", "seccomp", "memory_bytes=4294967297"):
        assert part in words
