"""Pythons that a node offers to jobs: its own, and those that its owner built ahead of time."""

import re
from dataclasses import dataclass, field

from bcai.base.errors import InputError

OWN_NAME = "default"  # the Python that runs the node
NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,62}"


@dataclass(frozen=True, slots=True)
class Environment:
    """One Python with packages.

    Attributes
    ----------
    packages
        Distribution name > version.
    lock
        Digest of the lock file that the packages came from: equal locks, equal packages.
    extras
        Package > those of its extras whose packages are there as well.
    markers
        What environment markers (PEP 508) are evaluated with. Empty: all that is known is Linux
        and the version of Python.
    """

    name: str
    python: str
    packages: dict[str, str]
    lock: str = ""
    extras: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    markers: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class RanIn:
    """The environment that a job ran in, as its result states it."""

    name: str
    python: str
    lock: str


def check_name(name: str) -> str:
    """Return `name` if an environment can have it.

    Raises
    ------
    InputError
        It is not a short name of lower-case letters, digits, dots, dashes and underscores.
    """
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise InputError(
            f"environment {name[:80]!r}: expected a name of lower-case letters, digits, '.', '_' "
            "and '-', such as 'science', at most 63 characters"
        )
    return name
