"""Field types of submissions: sizes and durations with units, and text without NUL."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from bcai.base.errors import FormatError
from bcai.base.units import parse_duration_s, parse_size

SIZE_MAX = 2**60
DURATION_S_MAX = 31_536_000  # a year

# What the schema promises is a little less than what the parsers take.
_SIZE_TEXT = r"^[1-9][0-9]{0,5}(\.[0-9]{1,3})? ?([kKmMgG]i?)?[bB]?$"
_DURATION_TEXT = (  # `90`, `90s`; `15m`, `1m30s`; `12h`, `1h30m`
    r"^([1-9][0-9]{0,6}s?|[1-9][0-9]{0,4}m([1-9][0-9]?s)?|[1-9][0-9]{0,2}h([1-9][0-9]?m)?)$"
)
_NO_NUL = r"^[^\u0000]*$"


def _number_of(parse: Callable[[Any], float]) -> Callable[[object], float]:
    """Let a parser of `base.units` speak pydantic: whatever is wrong becomes a ValueError."""

    def parse_or_explain(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError("expected a number, or text with a unit")
        try:
            return parse(value)
        except (FormatError, OverflowError) as error:
            # Whoever tells of it says what was found.
            raise ValueError(str(error).rpartition("; ")[2]) from None

    return parse_or_explain


def _storable(text: str) -> str:
    """Refuse NUL and half surrogates: no file name, argument or database text can hold them."""
    if "\0" in text:
        raise ValueError(f"expected no NUL character at position {text.index(chr(0))}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"expected no half surrogate pair at position {error.start}") from None
    return text


def _number_only(value: object) -> object:
    """Refuse a number that is sent as text, or as a truth value."""
    if isinstance(value, bool | str):
        raise ValueError("expected a number")
    return value


Count = Annotated[int, BeforeValidator(_number_only)]
Text = Annotated[str, AfterValidator(_storable), Field(json_schema_extra={"pattern": _NO_NUL})]
Size = Annotated[
    int,
    BeforeValidator(
        _number_of(parse_size),
        json_schema_input_type=Annotated[int, Field(ge=1, le=SIZE_MAX)]
        | Annotated[str, Field(pattern=_SIZE_TEXT)],
    ),
    Field(ge=1, le=SIZE_MAX, description="Bytes, or text such as `8GB` or `512MiB`."),
]
Duration = Annotated[
    float,
    BeforeValidator(
        _number_of(parse_duration_s),
        json_schema_input_type=Annotated[float, Field(gt=0, le=DURATION_S_MAX)]
        | Annotated[str, Field(pattern=_DURATION_TEXT)],
    ),
    Field(gt=0, le=DURATION_S_MAX, description="Seconds, or text such as `90s` or `1h30m`."),
]
