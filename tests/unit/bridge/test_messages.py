import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.errors import FormatError
from bcai.bridge.limits import MESSAGE_BYTES_MAX
from bcai.bridge.sandbox.jail import Cause, Metric, Progress
from bcai.bridge.sandbox.messages import Announced, Ended, parse_json, parse_message

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
KEYS = ("name", "kind", "offset", "size", "value", "values", "step", "fraction", "cause", "message",
        "hint", "line", "memory_bytes")  # fmt: skip
TYPES = st.sampled_from(
    ["metric", "progress", "output", "forget", "warning", "too_large", "train", "end"]
)


def parse(**fields: object) -> object:
    return parse_message(json.dumps(fields).encode())


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        parse_message(data)


@given(TYPES, st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_fields_are_parsed_or_refused(kind: str, fields: dict[str, object]) -> None:
    with contextlib.suppress(FormatError):
        parse(type=kind, **fields)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_progress_is_clamped(fraction: float) -> None:
    message = parse(type="progress", fraction=fraction)
    assert isinstance(message, Progress)
    assert 0 <= message.fraction <= 1


def test_metrics_pass() -> None:
    assert parse(type="metric", step=3, values={"loss": 1}) == Metric(3, {"loss": 1.0})


def test_metrics_that_are_not_finite_pass() -> None:
    message = parse(type="metric", step=None, values={"loss": {"$number": "nan"}})
    assert isinstance(message, Metric)
    assert math.isnan(message.values["loss"])


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "metric", "step": True, "values": {"a": 1}},
        {"type": "metric", "step": 1, "values": {}},
        {"type": "metric", "step": 1, "values": {"a": "x"}},
        {"type": "metric", "step": 1, "values": {"a\u001b[2J": 1}},
        {"type": "metric", "step": 1, "values": {"a": 10**400}},
        {"type": "output", "name": "../../etc/x", "kind": "file", "offset": 0, "size": 1},
        {"type": "output", "name": "x", "kind": "pickle", "offset": 0, "size": 1},
        {"type": "output", "name": "x", "kind": "file", "offset": -1, "size": 1},
        {"type": "output", "name": "x", "kind": "file", "offset": 0, "size": 1.5},
        {"type": "end", "cause": "cancelled", "message": "", "hint": "", "line": None},
        {"type": "end", "cause": "exited", "message": "x" * 10_000, "hint": "", "line": None},
        {"type": "unheard-of"},
        {},
    ],
)
def test_lies_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        parse(**fields)


def test_json_beyond_the_standard_is_refused() -> None:
    for text in (b"NaN", b"[Infinity]", b"[" * 100_000, b"\xff", b""):
        with pytest.raises(FormatError):
            parse_json(text)


def test_messages_over_the_limit_are_refused_before_they_are_parsed() -> None:
    with pytest.raises(FormatError, match="too long"):
        parse_message(b"[" * (MESSAGE_BYTES_MAX + 1))


def test_outputs_and_ends_pass() -> None:
    fields = {"type": "output", "name": "curves.png", "kind": "file", "offset": 8, "size": 10}
    assert parse(**fields) == Announced("curves.png", "file", 8, 10)
    inline = parse(type="output", name="x", kind="value", value=[[1, "a"]])
    assert inline == Announced("x", "value", inline=([1, "a"],))
    end = parse(type="end", cause="memory", message="MemoryError", hint="", line=3)
    assert end == Ended(Cause.MEMORY, "MemoryError", "", 3)
