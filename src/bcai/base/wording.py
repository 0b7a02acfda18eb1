"""Other libraries' complaints in the words of our errors."""

import re

_WORDS = (
    ("Value error, ", ""),
    ("Input should be greater than or equal to ", "expected at least "),
    ("Input should be less than or equal to ", "expected at most "),
    ("Input should be greater than ", "expected more than "),
    ("Input should be less than ", "expected less than "),
    (r"\w+ should have at (least|most) (\w+ \w+).*", r"expected at \1 \2"),
    ("String should match pattern ", "expected text that matches "),
    (r"(Input should be a valid dictionary) or instance of \w+", r"\1"),
    ("Input should be ", "expected "),
    (
        r"Input tag .* found using '(\w+)' does not match any of the expected tags:",
        r"expected a \1 of",
    ),
    ("Unable to extract tag using discriminator ", "expected the field "),
    ("Invalid JSON: ", "expected JSON: "),
)


def as_expected(complaint: str) -> str:
    """What pydantic says of a wrong value, as what was expected."""
    for theirs, ours in _WORDS:
        complaint = re.sub(rf"\A{theirs}", ours, complaint)
    return complaint


def found_and_expected(kind: str, complaint: str, found: str) -> str:
    """`found X; expected Y`, of one error of pydantic's: its type, its message and the value.

    Of a field that there is not it is `unknown`, for the caller to name the nearest.
    """
    if kind == "extra_forbidden":
        return "unknown"
    if kind == "missing":
        return "found nothing; expected a value"
    return f"found {found}; {as_expected(complaint)}"
