"""The lock file of an environment: what was installed, so that it can be built again elsewhere.

Format, version 1: UTF-8 lines, each ended by a newline. Two comment lines, then one line for every
package, sorted by its normalised name. It is a requirements file of pip:

    # bcai environment lock 1
    # python 3.11, cpython, linux-x86_64
    humanize==4.12.1 --hash=sha256:86014ca5c52675dffa1d404491952f1f5bf03b07c175a51891a343daebf01fea

The hash is that of the archive that pip installed. The digest of an environment is the SHA-256 of
these bytes: nodes with equal digests installed the same archives into the same kind of Python.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from packaging.utils import canonicalize_name

from bcai.base.errors import FormatError

_FIRST = "# bcai environment lock 1"
_PYTHON = re.compile(r"# python (?P<python>\d+\.\d+), (?P<kind>[\w.-]+), (?P<platform>[\w.-]+)")
_PACKAGE = re.compile(
    r"(?P<name>[a-z0-9]+(?:-[a-z0-9]+)*)==(?P<version>[^\s=;,]+)"
    r"(?: --hash=sha256:(?P<digest>[0-9a-f]{64}))?"
)


@dataclass(frozen=True, slots=True, order=True)
class Locked:
    """One package; `digest` is empty where nobody knows the archive that it came from."""

    name: str
    version: str
    digest: str = ""

    def __str__(self) -> str:
        pinned = f"{self.name}=={self.version}"
        return f"{pinned} --hash=sha256:{self.digest}" if self.digest else pinned


@dataclass(frozen=True, slots=True)
class Lock:
    """What an environment holds.

    Attributes
    ----------
    python
        Major and minor version, `3.11`: what wheels are made for.
    """

    python: str
    implementation: str
    platform: str
    packages: tuple[Locked, ...]

    def __str__(self) -> str:
        head = f"{_FIRST}\n# python {self.python}, {self.implementation}, {self.platform}\n"
        return head + "".join(f"{package}\n" for package in sorted(self.packages))

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return "sha256:" + sha256(str(self).encode()).hexdigest()

    @property
    def versions(self) -> dict[str, str]:
        """Version of each package."""
        return {package.name: package.version for package in self.packages}


def locked(packages: Iterable[tuple[str, str, str]]) -> tuple[Locked, ...]:
    """Make entries of names, versions and digests, in the lock's order."""
    return tuple(
        sorted(
            Locked(canonicalize_name(name), version, digest) for name, version, digest in packages
        )
    )


def parse_lock(text: str) -> Lock:
    """Read a lock file.

    Raises
    ------
    FormatError
        It is not one in the canonical form; the message names the line.
    """
    first, _, rest = text.partition("\n")
    if first != _FIRST:
        raise FormatError(f"lock, line 1: found {first[:80]!r}, expected {_FIRST!r}")
    second, _, rest = rest.partition("\n")
    python = _PYTHON.fullmatch(second)
    if python is None:
        raise FormatError(
            f"lock, line 2: found {second[:80]!r}, expected '# python 3.11, cpython, linux-x86_64'"
        )
    packages: list[Locked] = []
    for number, line in enumerate(rest.splitlines(), 3):
        found = _PACKAGE.fullmatch(line)
        if found is None:
            raise FormatError(
                f"lock, line {number}: found {line[:80]!r}, expected 'name==version "
                "--hash=sha256:...' with a normalised name"
            )
        packages.append(Locked(found["name"], found["version"], found["digest"] or ""))
    lock = Lock(python["python"], python["kind"], python["platform"], tuple(packages))
    names = [package.name for package in packages]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise FormatError(f"lock: {twice!r} is named twice")
    if str(lock) != text:
        raise FormatError("lock: the lines are not sorted by name, or an end of line is missing")
    return lock
