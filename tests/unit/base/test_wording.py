"""What pydantic says is told as what was expected."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bcai.base.wording import as_expected, found_and_expected


class Small(BaseModel):
    model_config = ConfigDict(extra="forbid")
    count: int


class A(BaseModel):
    kind: Literal["a"]


class B(BaseModel):
    kind: Literal["b"]


Either = Annotated[A | B, Field(discriminator="kind")]


@pytest.mark.parametrize(
    ("bounds", "value", "says"),
    [
        (Field(ge=1), 0, "expected at least 1"),
        (Field(le=1), 2, "expected at most 1"),
        (Field(gt=1), 1, "expected more than 1"),
        (Field(lt=1), 1, "expected less than 1"),
        (Field(), "many", "expected a valid integer, unable to parse string as an integer"),
    ],
)
def test_a_bound_is_told_as_what_was_expected(bounds: Any, value: object, says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter[int](Annotated[int, bounds]).validate_python(value)
    assert as_expected(refused.value.errors()[0]["msg"]) == says


@pytest.mark.parametrize(
    ("type_", "value", "says"),
    [
        (Annotated[str, Field(min_length=1)], "", "found ''; expected at least 1 character"),
        (Annotated[str, Field(pattern="^a$")], "b", "found 'b'; expected text that matches '^a$'"),
        (
            Annotated[list[int], Field(max_length=1)],
            [1, 2],
            "found [1, 2]; expected at most 1 item",
        ),
        (Small, 5, "found 5; expected a valid dictionary"),
        (Small, {}, "found nothing; expected a value"),
        (Small, {"count": 1, "x": 1}, "unknown"),
        (Either, {}, "found {}; expected the field 'kind'"),
        (Either, {"kind": "c"}, "found {'kind': 'c'}; expected a kind of 'a', 'b'"),
        (Literal["a", "b"], "c", "found 'c'; expected 'a' or 'b'"),
    ],
)
def test_every_complaint_says_what_was_found_and_expected(
    type_: Any, value: object, says: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter[object](type_).validate_python(value)
    wrong = refused.value.errors()[0]
    assert found_and_expected(wrong["type"], wrong["msg"], repr(wrong["input"])) == says


def test_what_it_does_not_know_stays() -> None:
    assert as_expected("Value error, expected a name") == "expected a name"
    assert as_expected("Field required") == "Field required"
