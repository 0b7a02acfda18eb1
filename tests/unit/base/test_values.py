"""Plain output values as strict JSON."""

import json
import math
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.errors import FormatError
from bcai.base.values import DEPTH_MAX, decode_value, encode_value

MARKS = st.sampled_from(["$number", "$dict", "nan"])
KEYS = st.text() | MARKS
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | MARKS
PLAIN = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=30,
)


def nested(depth: int) -> object:
    """A list in a list in a list, `depth` deep."""
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@given(PLAIN)
def test_a_value_survives_strict_json(value: object) -> None:
    text = json.dumps(encode_value(value), allow_nan=False)
    # repr tells 1 from 1.0 and True, and sees not-a-number as equal to itself.
    assert repr(decode_value(json.loads(text))) == repr(value)


@pytest.mark.parametrize("number", [math.inf, -math.inf])
def test_infinities_are_named(number: float) -> None:
    assert encode_value(number) == {"$number": str(number)}
    assert decode_value({"$number": str(number)}) == number


def test_not_a_number_is_named() -> None:
    assert encode_value(math.nan) == {"$number": "nan"}
    assert math.isnan(cast("float", decode_value({"$number": "nan"})))


@pytest.mark.parametrize(
    "data", [{"$number": "nine"}, {"$number": []}, {"$number": "nan", "more": 1}]
)
def test_a_dict_that_only_looks_like_a_number_stays_a_dict(data: object) -> None:
    assert decode_value(data) == data


def test_a_subclass_of_float_is_named_as_its_number() -> None:
    class Loud(float):
        def __repr__(self) -> str:
            return f"Loud({float(self)})"

    assert encode_value(Loud("nan")) == {"$number": "nan"}


def test_a_tuple_becomes_a_list() -> None:
    assert encode_value((1, (2.0, "three"))) == [1, [2.0, "three"]]


def test_text_that_no_message_can_carry_is_escaped() -> None:
    value = ["half \ud800", {"\udcff": 1}]
    assert encode_value(value) == ["half \\ud800", {"\\udcff": 1}]


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), {1: "one"}, [{"deep": 1j}], print])
def test_what_is_not_plain_is_refused(value: object) -> None:
    with pytest.raises(FormatError, match="not a plain value"):
        encode_value(value)


def test_the_deepest_value_allowed_round_trips() -> None:
    assert decode_value(encode_value(nested(DEPTH_MAX))) == nested(DEPTH_MAX)


def test_deeper_nesting_is_refused() -> None:
    with pytest.raises(FormatError, match=f"deeper than {DEPTH_MAX} levels"):
        encode_value(nested(DEPTH_MAX + 1))


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(FormatError, match="deeper than"):
        encode_value(loop)
