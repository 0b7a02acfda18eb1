"""What pydantic says is told as what was expected."""

from typing import Annotated, Any

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from bcai.base.wording import as_expected


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


def test_what_it_does_not_know_stays() -> None:
    assert as_expected("Value error, expected a name") == "expected a name"
    assert as_expected("Field required") == "Field required"
