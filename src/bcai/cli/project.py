"""What a project folder says about itself in the `[project]` table of `bcai.toml`."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from bcai.base.errors import BcaiError, FormatError, InputError, NotFoundError
from bcai.base.suggest import did_you_mean
from bcai.base.units import parse_duration_s, parse_size
from bcai.jobs.spec import SecurityLevel
from bcai.settings import Settings

FILE_NAME = "bcai.toml"
DEFAULT_ENTRY = "main.py"


@dataclass(frozen=True, slots=True)
class Project:
    """A project's own wishes; None and empty mean that it says nothing. Flags win over them."""

    name: str | None = None
    entry: str = DEFAULT_ENTRY
    requirements: tuple[str, ...] = ()
    environment: str | None = None
    data: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    timeout: str | float | None = None
    memory: str | int | None = None
    gpu_memory: str | int | None = None
    max_retries: int | None = None
    limits: Mapping[str, str | int | float] = field(default_factory=dict[str, str | int | float])
    security_level: str | None = None
    verify: str | None = None
    capture: bool = False


def read_project(folder: Path) -> Project:
    """Read a folder's `bcai.toml`; without one, the defaults.

    Raises
    ------
    FormatError
        It is not TOML, or a key is unknown or has a wrong value. The message names the line,
        the key, what was found and what was expected.
    NotFoundError
        The file that should start is not there.
    """
    path = folder / FILE_NAME
    project = _parse(path) if path.is_file() else Project()
    if not (folder / project.entry).is_file():
        raise NotFoundError(
            f"{folder}: there is no {project.entry!r} to start",
            hint=_entry_hint(folder),
        )
    return project


def _entry_hint(folder: Path) -> str:
    scripts = sorted(path.name for path in folder.glob("*.py"))[:5]
    if not scripts:
        return f'add a {DEFAULT_ENTRY}, or name another script: entry = "..." in {FILE_NAME}'
    return (
        f"it holds {', '.join(scripts)}; say which one starts in {FILE_NAME}: "
        f'[project] entry = "{scripts[0]}"'
    )


def _parse(path: Path) -> Project:
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: {error}") from error
    tables = {"project", *Settings.model_fields}
    for key in document.keys() - tables:
        raise _wrong(path, text, key, f"unknown key{did_you_mean(key, tables)}")
    table = document.get("project", {})
    if not isinstance(table, dict):
        raise _wrong(path, text, "project", "expected a table: [project]")
    known = {field.name for field in fields(Project)}
    found: dict[str, Any] = {}
    for key, value in cast("dict[str, object]", table).items():
        if key not in known:
            near = did_you_mean(key, known) or f"; known: {', '.join(sorted(known))}"
            raise _wrong(path, text, key, f"unknown key{near}", table="project")
        try:
            found[key] = _CHECKS[key](value)
        except BcaiError as error:
            raise _wrong(path, text, key, str(error), table="project") from error
    return Project(**found)


def _wrong(path: Path, text: str, key: str, problem: str, table: str = "") -> FormatError:
    line = _line_of(text, key, table)
    dotted = f"{table}.{key}" if table else key
    return FormatError(f"{path}, line {line}: {dotted}: {problem}")


def _line_of(text: str, key: str, table: str) -> int:
    """Return the line on which a key (or a table of that name) stands, or 1 if none is found."""
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            current = stripped.strip("[]").split("#")[0].strip("[] ")
            if not table and current.split(".")[0] == key:
                return number
        name = stripped.split("=")[0].strip().strip("\"'")
        if "=" in stripped and current == table and name.split(".")[0] == key:
            return number
    return 1


def _text(value: object) -> str:
    if isinstance(value, str) and value:
        return value
    raise InputError(f"found {value!r}, expected a text in quotes")


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, list):
        items = cast("list[object]", value)
        if all(isinstance(item, str) for item in items):
            return tuple(cast("list[str]", items))
    raise InputError(f'found {value!r}, expected a list of texts such as ["torch"]')


def _duration(value: object) -> str | float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        parse_duration_s(value)
        return value
    raise InputError(f"found {value!r}, expected seconds or a text such as '15m'")


def _size(value: object) -> str | int:
    if isinstance(value, str | int) and not isinstance(value, bool):
        parse_size(value)
        return value
    raise InputError(f"found {value!r}, expected bytes or a text such as '8GB'")


def _limits(value: object) -> dict[str, str | int | float]:
    """Names and numbers; what a number may be is checked with the job."""
    from bcai.wire.submission import LimitsMessage

    if not isinstance(value, dict):
        raise InputError(f'found {value!r}, expected a table such as {{ cpu = "10m" }}')
    known = LimitsMessage.model_fields
    found: dict[str, str | int | float] = {}
    for name, limit in cast("dict[str, object]", value).items():
        if name not in known:
            near = did_you_mean(name, known) or f"; known: {', '.join(sorted(known))}"
            raise InputError(f"{name}: unknown limit{near}")
        if isinstance(limit, bool) or not isinstance(limit, str | int | float):
            raise InputError(f"{name}: found {limit!r}, expected a number or a text such as '2GB'")
        found[name] = limit
    return found


def _retries(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100:
        return value
    raise InputError(f"found {value!r}, expected a whole number from 0 to 100")


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise InputError(f"found {value!r}, expected true or false")


def _security_level(value: object) -> str:
    levels = [each.value for each in SecurityLevel]
    if value in levels:
        return str(value)
    raise InputError(f"found {value!r}, expected one of {', '.join(map(repr, levels))}")


def _verify(value: object) -> str:
    from bcai.jobs.verify import parse_verify

    return str(parse_verify(_text(value)))


_CHECKS: dict[str, Callable[[object], object]] = {
    "name": _text,
    "entry": _text,
    "requirements": _texts,
    "environment": _text,
    "data": _texts,
    "arguments": _texts,
    "outputs": _texts,
    "timeout": _duration,
    "memory": _size,
    "gpu_memory": _size,
    "max_retries": _retries,
    "limits": _limits,
    "security_level": _security_level,
    "verify": _verify,
    "capture": _truth,
}
