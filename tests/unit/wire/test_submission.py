"""A submission is lowered to a spec, or every wrong field is named."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bcai.base.errors import BcaiError, InputError
from bcai.wire.submission import JobSubmission


def places(**fields: object) -> set[str]:
    """Where a submission is wrong."""
    with pytest.raises(ValidationError) as refused:
        JobSubmission.model_validate({"code": "x", **fields})
    return {".".join(str(part) for part in error["loc"]) for error in refused.value.errors()}


def _promised(field: str) -> str:
    """The pattern that OpenAPI gives for the texts of a field."""
    choices = JobSubmission.model_json_schema()["properties"][field]["anyOf"]
    return next(choice["pattern"] for choice in choices if choice["type"] == "string")


def test_units_are_read() -> None:
    submission = JobSubmission.model_validate(
        {
            "code": "x",
            "timeout": "1h30m",
            "hardware": {"gpu_memory": "8GB", "memory": "2GiB"},
            "limits": {"log": "1MiB", "cpu": "2m", "file": "3KiB", "inodes": 7},
        }
    )
    spec = submission.to_spec()
    assert spec.limits.wall_s == 5400
    assert spec.limits.memory_bytes == spec.hardware.memory_bytes == 2 * 2**30
    assert spec.limits.log_bytes == 2**20
    assert (spec.limits.cpu_s, spec.limits.file_bytes, spec.limits.inodes) == (120, 3072, 7)
    assert (spec.hardware.gpu_count, spec.hardware.gpu_memory_bytes) == (1, 8 * 10**9)


@given(st.from_regex(_promised("timeout"), fullmatch=True))
def test_every_timeout_that_the_schema_promises_is_taken(text: str) -> None:
    assert JobSubmission.model_validate({"code": "x", "timeout": text}).timeout > 0


@pytest.mark.parametrize("text", ["90", "90s", "15m", "1m30s", "12h", "1h30m"])
def test_the_schema_promises_what_its_description_shows(text: str) -> None:
    assert re.search(_promised("timeout"), text)


@pytest.mark.parametrize("field", ["limits", "hardware"])
def test_memory_with_which_no_python_starts_is_refused(field: str) -> None:
    def asked(memory: object, **fields: object) -> JobSubmission:
        return JobSubmission.model_validate({**fields, field: {"memory": memory}})

    with pytest.raises(
        InputError, match=rf"{field}\.memory: found 512 B, expected at least 4.0 MiB"
    ):
        asked(512, code="x").to_spec()
    assert asked("4MiB", code="x").to_spec().limits.memory_bytes == 4 * 2**20
    program = {"path": "p.bcai", "digest": f"blake3:{'0' * 64}", "size": 1}
    spec = asked(512, kind="program", entry="p.bcai", files=[program]).to_spec()
    assert spec.limits.memory_bytes == 512  # a program knows what it needs


def test_a_security_level_is_one_of_three_and_high_where_nobody_asks() -> None:
    assert JobSubmission.model_validate({"code": "x"}).to_spec().security_level == "high"
    asked = JobSubmission.model_validate({"code": "x", "security_level": "standard"})
    assert asked.to_spec().security_level == "standard"
    assert places(security_level="low") == {"security_level"}


@pytest.mark.parametrize(
    "value", [None, [], {}, True, "soon", "", float("nan"), float("inf"), "inf", -1, 0, 10**400]
)
def test_a_timeout_that_is_none_is_named(value: object) -> None:
    assert places(timeout=value) == {"timeout"}


@pytest.mark.parametrize("value", [[], {}, True, "much", float("nan"), 1e300, "9" * 400, -1, 0])
def test_a_size_that_is_none_is_named(value: object) -> None:
    assert places(limits={"memory": value}) == {"limits.memory"}


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_nothing_can_store_is_named(text: str) -> None:
    assert places(code=text) == {"code"}
    assert places(arguments=["a", text]) == {"arguments.1"}
    assert places(requirements=[text]) == {"requirements.0"}
    assert places(code_name=text) == {"code_name"}
    assert places(labels={"key": text}) == {"labels.key"}


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(JobSubmission.model_fields)), JSON))
def test_whatever_is_sent_becomes_a_spec_or_a_named_error(fields: dict[str, object]) -> None:
    try:
        spec = JobSubmission.model_validate(fields).to_spec()
    except (ValidationError, BcaiError):
        return
    json.dumps(spec.requirements).encode()
    assert (spec.code is None) != (spec.entry is None)
