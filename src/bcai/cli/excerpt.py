"""The lines of a script around the one that failed."""

import re
from dataclasses import dataclass

_CONTEXT = 2
_COLUMNS_MAX = 160
_PLACE = re.compile(r"\((?P<file>[^()]+), line \d+\)\s*\Z")  # how a reason's message ends


@dataclass(frozen=True, slots=True)
class ExcerptLine:
    """One line of an excerpt."""

    number: int
    text: str
    is_culprit: bool


def file_of(message: str) -> str | None:
    """Return the user's file that a reason names, as in `ZeroDivisionError: ... (a.py, line 3)`."""
    match = _PLACE.search(message)
    return match["file"] if match else None


def excerpt(source: str, line: int) -> list[ExcerptLine]:
    """Return the line and its neighbours, or nothing if there is no such line."""
    lines = source.splitlines()
    if not 1 <= line <= len(lines):
        return []
    first, last = max(1, line - _CONTEXT), min(len(lines), line + _CONTEXT)
    return [
        ExcerptLine(number, lines[number - 1].expandtabs(4)[:_COLUMNS_MAX], number == line)
        for number in range(first, last + 1)
    ]
