"""Runs pip for a node's owner, and says in one sentence why it failed."""

import json
import os
import re
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bcai.base.errors import BcaiError, DependencyError, InputError, UnreachableError

OnLine = Callable[[str], None]

_LINES_KEPT = 400
_LINE_MAX = 4000
_ERRORS_SHOWN = 6
# Where pip shall install is ours to say, and no Python but the new one's shall be in its way.
_OURS = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_PYTHON", "PIP_REQUIRE_HASHES")
_UNREACHABLE = re.compile(
    r"(?:connection broken by|connection error:|Could not fetch URL)\s*(?P<why>.*)"
    r"|(?P<other>(?:Temporary failure in name resolution|Network is unreachable).*)"
)
_MESSAGE = re.compile(r"(?:NewConnectionError|NameResolutionError|Error)\w*\([^']*'(?P<text>.*)'\)")
_NOT_FOUND = re.compile(
    r"Could not find a version that satisfies the requirement (?P<asked>.+?) "
    r"(?:\(from .*\) )?\(from versions: (?P<versions>[^)]*)"
)
_VERSIONS_SHOWN = 5
_OFFLINE = (
    "look at this machine's network and proxy (HTTPS_PROXY, PIP_INDEX_URL), or install from a "
    "folder of wheels: PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER bcai node env add ..."
)
_WHEELS_ONLY = (
    "look at the name and the version; only wheels for this Python are installed, unless --build "
    "lets packages run their own build scripts on this machine"
)


def run_program(command: Sequence[str], on_line: OnLine, keep_open: int) -> deque[str]:
    """Run a program of Python's tools to its end; return its last lines.

    Parameters
    ----------
    keep_open
        Descriptor of a lock that is held until the program has ended, whatever becomes of us.

    Raises
    ------
    ProgramFailed
        Its exit status is not 0.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTHON") and name not in _OURS
    }
    lines: deque[str] = deque(maxlen=_LINES_KEPT)
    with subprocess.Popen(  # noqa: S603 - the owner's own Python
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        pass_fds=(keep_open,),
    ) as process:
        try:
            for line in process.stdout or ():
                lines.append(line.rstrip()[:_LINE_MAX])
                on_line(lines[-1])
        except BaseException:  # Ctrl-C, say: it must not go on without us
            process.kill()
            raise
    if process.returncode:
        raise ProgramFailed(process.returncode, lines)
    return lines


class ProgramFailed(Exception):  # noqa: N818 - translated by whoever knows what was tried
    """A program ended with another status than 0."""

    def __init__(self, status: int, lines: Sequence[str]) -> None:
        super().__init__(f"exit status {status}")
        self.status = status
        self.lines = tuple(lines)


def install(
    pip: Sequence[str], python: Path, arguments: Sequence[str], *, on_line: OnLine, keep_open: int
) -> list[tuple[str, str, str]]:
    """Install into another Python's environment; return names, versions and SHA-256 of archives.

    Parameters
    ----------
    pip
        The command of some pip, of version 22.3 or newer.
    arguments
        Requirements and options, as `pip install` takes them.

    Raises
    ------
    UnreachableError
        The package index does not answer.
    InputError
        There is no such package, or the requirements contradict each other.
    DependencyError
        Anything else that pip complains of.
    """
    report = python.parent.parent.parent / "report.json"
    command = [
        *pip, "--python", str(python), "--disable-pip-version-check", "--no-input",
        "install", "--progress-bar", "off", "--no-warn-script-location",
        "--report", str(report), *arguments,
    ]  # fmt: skip
    try:
        run_program(command, on_line, keep_open)
    except ProgramFailed as failed:
        raise explain(failed.lines) from None
    found = [_installed(item) for item in json.loads(report.read_text())["install"]]
    report.unlink()
    return found


def explain(lines: Sequence[str]) -> BcaiError:
    """Turn pip's last lines into an error that says what to do."""
    for line in reversed(lines):
        found = _UNREACHABLE.search(line)
        if found is not None:
            why = found["why"] or found["other"]
            text = _MESSAGE.search(why)
            why = (text["text"].rpartition(": ")[2] if text else why).strip(" '\"")
            return UnreachableError(f"pip cannot reach a package index: {why}", hint=_OFFLINE)
    errors = [line.partition("ERROR:")[2].strip() for line in lines if line.startswith("ERROR:")]
    conflict = _conflict(lines)
    if conflict:
        return InputError(f"the requirements contradict each other: {conflict}")
    said = "; ".join(errors[-_ERRORS_SHOWN:]) or "; ".join([*lines][-_ERRORS_SHOWN:])
    missing = next((found for line in errors if (found := _NOT_FOUND.search(line))), None)
    if missing is not None:
        return _not_found(missing["asked"], missing["versions"].split(", "))
    if any("THESE PACKAGES DO NOT MATCH THE HASHES" in line or "--require-hashes" in line
           for line in lines):  # fmt: skip
        return InputError(f"pip: {said}", hint="every package needs its version and its hashes")
    return DependencyError(f"pip failed: {said}")


def _not_found(asked: str, versions: Sequence[str]) -> InputError:
    """No package of that name, or none of its versions."""
    if versions == ["none"]:
        return InputError(f"requirement {asked!r}: pip finds no wheel for it", hint=_WHEELS_ONLY)
    newest = ", ".join(reversed(versions[-_VERSIONS_SHOWN:]))
    return InputError(
        f"requirement {asked!r}: pip finds no such version; the newest are {newest}",
        hint=_WHEELS_ONLY,
    )


def _conflict(lines: Sequence[str]) -> str:
    """What pip says of requirements that cannot be met together."""
    marks = [place for place, line in enumerate(lines) if line.startswith("The conflict is caused")]
    if not marks:
        return ""
    listed: list[str] = []
    for line in lines[marks[0] + 1 :]:
        if not line.startswith(" "):
            break
        listed.append(line.strip())
    return "; ".join(listed[:_ERRORS_SHOWN])


def _installed(item: dict[str, Any]) -> tuple[str, str, str]:
    """One entry of pip's report (its format is described in pip's documentation)."""
    metadata, archive = item["metadata"], item["download_info"].get("archive_info", {})
    digest = archive.get("hashes", {}).get("sha256", "")
    if not digest and archive.get("hash", "").startswith("sha256="):
        digest = archive["hash"].removeprefix("sha256=")
    return str(metadata["name"]), str(metadata["version"]), str(digest)
