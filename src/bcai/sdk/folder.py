"""The files that a job brings: found in a folder, without what is ignored or leads outside."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from bcai.base.errors import InputError, NotFoundError, TooLargeError
from bcai.base.units import format_size
from bcai.jobs.spec import FILE_BYTES_MAX, FILES_MAX, Mount, check_path

IGNORE_FILE = ".bcaiignore"  # patterns as in .gitignore
_IGNORED = (".git", "__pycache__", ".venv", "node_modules", "*.pyc", IGNORE_FILE)
_DEPTH_MAX = 64


@dataclass(frozen=True, slots=True)
class LocalFile:
    """One file on this machine, and its place in the job's working folder.

    `content` holds what was made in memory; `source` then only names it.
    """

    source: Path
    path: str
    size: int
    mount: Mount
    content: bytes | None = None


def project_files(folder: Path) -> list[LocalFile]:
    """Find a project's files, by their path inside the folder.

    Raises
    ------
    InputError
        A file cannot travel; the message names it.
    """
    _check_exists(folder, "project")
    if not folder.is_dir():
        raise InputError(
            f"project: {str(folder)!r} is a file; expected a folder", hint="use path= for a script"
        )
    return _within_limit(_files_of(folder, Mount.PROJECT, prefix=""))


def data_files(sources: Iterable[Path]) -> list[LocalFile]:
    """Find data files; a folder's files keep their place below the folder's name."""
    found: list[LocalFile] = []
    origins: dict[str, Path] = {}
    for source in sources:
        _check_exists(source, "data")
        name = source.name if source.name not in {"", ".."} else source.resolve().name
        if name in origins:
            raise InputError(
                f"data: {str(origins[name])!r} and {str(source)!r} would both be {name!r}",
                hint="give one of them another name",
            )
        origins[name] = source
        if source.is_dir():
            found += _files_of(source, Mount.DATA, prefix=f"{name}/")
        else:
            found.append(_local_file(source, name, Mount.DATA))
    return _within_limit(found)


def entry_of(files: list[LocalFile], folder: Path) -> str:
    """Guess which file of a project starts: `main.py`, `__main__.py`, or its only script."""
    names = {file.path for file in files}
    for usual in ("main.py", "__main__.py"):
        if usual in names:
            return usual
    scripts = sorted(name for name in names if name.endswith(".py") and "/" not in name)
    if len(scripts) == 1:
        return scripts[0]
    found = ", ".join(scripts[:10]) or "no Python file"
    raise InputError(
        f"entry: {str(folder)!r} has no main.py; found {found}",
        hint="name the file that starts with entry=",
    )


def _check_exists(path: Path, field: str) -> None:
    if not path.exists():
        raise NotFoundError(f"{field}: no file or folder {str(path)!r}")


def _within_limit(files: Iterable[LocalFile]) -> list[LocalFile]:
    found: list[LocalFile] = []
    for file in files:
        found.append(file)
        if len(found) > FILES_MAX:
            raise TooLargeError(
                f"more than {FILES_MAX} files, among them {str(file.source)!r}",
                hint=f"name what the job does not need in a {IGNORE_FILE} file",
            )
    return found


def _files_of(folder: Path, mount: Mount, prefix: str) -> Iterator[LocalFile]:
    ignored = _ignored(folder)
    root = folder.resolve()
    # inner path, folder, and the real folders that lead to it
    pending: list[tuple[str, Path, tuple[Path, ...]]] = [("", root, (root,))]
    while pending:
        inner, place, above = pending.pop()
        for entry in sorted(_scan(place), key=lambda entry: entry.name):
            path = inner + entry.name
            is_folder = entry.is_dir()
            if ignored.match_file(path + "/" if is_folder else path):
                continue
            source = Path(entry.path)
            if entry.is_symlink():
                _check_link(source, root)
            if not is_folder:
                yield _local_file(source, prefix + path, mount)
                continue
            real = source.resolve()
            if real in above or len(above) > _DEPTH_MAX:
                raise InputError(f"folder {str(source)!r}: leads back to itself, or is too deep")
            pending.append((path + "/", source, (*above, real)))


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise InputError(f"folder {str(folder)!r}: {error.strerror}") from error


def _ignored(folder: Path) -> GitIgnoreSpec:
    patterns = list(_IGNORED)
    ignore_file = folder / IGNORE_FILE
    if ignore_file.is_file():
        patterns += ignore_file.read_text("utf-8", "replace").splitlines()
    return GitIgnoreSpec.from_lines(patterns)


def _check_link(link: Path, root: Path) -> None:
    target = link.resolve()
    if not target.is_relative_to(root):
        raise InputError(
            f"link {str(link)!r}: leads out of the folder, to {str(target)!r}",
            hint=f"copy the file into the folder, or name the link in a {IGNORE_FILE} file",
        )


def _local_file(source: Path, path: str, mount: Mount) -> LocalFile:
    try:
        facts = source.stat()
        path.encode()
    except OSError as error:
        raise InputError(f"file {str(source)!r}: {error.strerror}") from error
    except UnicodeEncodeError as error:
        raise InputError(f"file {str(source)!r}: its name is not UTF-8") from error
    if not stat.S_ISREG(facts.st_mode):
        raise InputError(
            f"file {str(source)!r}: is no regular file (a socket, pipe or device)",
            hint=f"name it in a {IGNORE_FILE} file",
        )
    if facts.st_size > FILE_BYTES_MAX:
        raise TooLargeError(
            f"file {str(source)!r}: {format_size(facts.st_size)}, "
            f"expected at most {format_size(FILE_BYTES_MAX)}"
        )
    return LocalFile(source, check_path(path), facts.st_size, mount)
