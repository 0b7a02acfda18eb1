"""Errors inside exception groups, which tasks that run together raise."""

from typing import TypeVar

E = TypeVar("E", bound=Exception)


def errors_in(group: BaseExceptionGroup[E]) -> list[E]:
    """Unpack a group of errors, and the groups inside, in order."""
    found: list[E] = []
    for error in group.exceptions:
        found += errors_in(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
