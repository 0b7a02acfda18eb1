"""Other libraries' complaints in the words of our errors."""

_WORDS = (
    ("Value error, ", ""),
    ("Input should be greater than or equal to ", "expected at least "),
    ("Input should be less than or equal to ", "expected at most "),
    ("Input should be greater than ", "expected more than "),
    ("Input should be less than ", "expected less than "),
    ("Input should be ", "expected "),
)


def as_expected(complaint: str) -> str:
    """What pydantic says of a wrong value, as what was expected."""
    for theirs, ours in _WORDS:
        if complaint.startswith(theirs):
            return ours + complaint.removeprefix(theirs)
    return complaint
