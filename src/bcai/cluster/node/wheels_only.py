"""Refuses what pip would build although it was told to take wheels only.

`--only-binary` binds what pip looks up in an index. What names its own place (a folder, an archive,
a repository) is built all the same, and a requirements file may say otherwise for what it names.
"""

import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement

from bcai.base.errors import InputError

_FILES_MAX = 100  # that name each other
_ARCHIVES = re.compile(r"\.(?:zip|tar|tgz|tbz|txz|tlz|tar\.\w+)\Z", re.IGNORECASE)
# pip takes options by any beginning that is clear, and several on a line.
_INCLUDES = re.compile(r"(?:\A|\s)(?:-[rc]|--(?:requirem|c)[a-z]*)[ =]*(?P<file>.*)")
_BUILDS = re.compile(r"(?:\A|\s)(?:-e|--ed|--no-b|--on.*:none:)")
_HINT = "allow build scripts, which run on this machine with your rights: --build; or name a wheel"


def check_requirement(text: str) -> None:
    """Refuse a requirement that is no name to look up, and no wheel. Raises InputError."""
    try:
        found = Requirement(text)
        place = found.url or found.name
        is_wheel = not found.url and not _ARCHIVES.search(place)
    except InvalidRequirement:
        place, is_wheel = text, False
    path = urlsplit(place)
    if is_wheel or (path.path.endswith(".whl") and "+" not in path.scheme):
        return
    raise InputError(
        f"requirement {text[:200]!r}: expected a package's name or the place of a wheel, since "
        "anything else is built",
        hint=_HINT,
    )


def check_file(file: Path) -> None:
    """Refuse a requirements file of which something would be built; also what it includes.

    Raises
    ------
    InputError
        It names such a thing, or a file that is not here.
    """
    waiting, seen = [file], set[Path]()
    while waiting:
        one = waiting.pop().resolve()
        if one in seen:
            continue
        seen.add(one)
        if not one.is_file() or len(seen) > _FILES_MAX:
            raise InputError(f"requirements file {str(file)!r} names {str(one)!r}: no such file")
        text = one.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ")
        for line in text.splitlines():
            waiting += [one.parent / name for name in _check_line(line)]


def _check_line(line: str) -> list[str]:
    """Check one line; return the file that it includes, if it does."""
    line = re.sub(r"(?:^|\s)#.*", "", line).strip()
    if line and not line.startswith("-"):
        check_requirement(re.split(r"\s--?[a-z]", line, maxsplit=1)[0].strip())
        return []
    if _BUILDS.search(line):
        raise InputError(f"requirements file: {line[:200]!r} makes pip build", hint=_HINT)
    included = _INCLUDES.search(line)
    return [" ".join(shlex.split(included["file"]))] if included else []
