"""The files of one result, which take their places in a folder together or not at all.

Note [A save that is killed]
    A save writes to a hidden folder of its own, `.bcai-` and an id, inside of the result's. When
    all is there that folder is renamed to `.bcai-moving`, which one save at a time can have: from
    here on the new result counts, and its files only have to be moved. Each save holds a lock on
    its hidden folder, which the kernel takes back when it dies. So the next save to the same place
    knows what nobody works on any more: it finishes what was being moved, and removes what was not
    yet whole. Between the moves the place has no `result.json`.
"""

import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from bcai.base.errors import ConflictError, InputError, ResourceError

RECORD = "result.json"  # its presence says that all files of a result are there
_ALWAYS = (RECORD, "outputs.json", "metrics.jsonl", "logs.txt", "curves.png")
_MOVING = ".bcai-moving"
_GONE = ".gone.json"  # in it: names of the earlier result's files that the new one does not have
_WRITING = re.compile(r"\.bcai-[0-9a-f]{32}")
_TRIES_MAX = 100  # so many others may save to one place at the same time


@contextmanager
def swapped_in(folder: Path) -> Generator[Path]:
    """A new folder inside of `folder`, whose files take an earlier result's place there at the end.

    Until then all that `folder` has stays as it is, and for good where something fails. It is
    inside, since a file moves without a copy within one file system alone.

    Raises
    ------
    InputError, ResourceError
        The folder cannot be written, or the disk is full.
    ConflictError
        Too many others save to it.
    """
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _finish_left(folder)
        beside, lock = _new_folder(folder)
        try:
            yield beside
            _swap(beside, folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)  # where it failed before it was whole
            _let_go(lock)


def finish_left(folder: Path) -> None:
    """Bring to its end what processes that died left here. Raises InputError, ResourceError."""
    with _explained(folder):
        _finish_left(folder)


def earlier_record(folder: Path) -> dict[str, Any]:
    """What `result.json` says of the result in a folder; empty if there is none."""
    try:
        record: object = json.loads((folder / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict) or "job_id" not in record:
        return {}
    return cast("dict[str, Any]", record)


def earlier_files(folder: Path) -> set[str]:
    """Names of the files of the result in a folder; only plain names in this very folder."""
    record = earlier_record(folder)
    files = record.get("files")
    named = list(cast("dict[str, object]", files).values()) if isinstance(files, dict) else []
    return {*_plain(named), *_ALWAYS} if record else set()


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file, down to the disk. Raises OSError."""
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def _explained(folder: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        refused = ResourceError if is_full else InputError
        raise refused(f"folder {str(folder)!r}: {error.strerror or error}") from error


def _finish_left(folder: Path) -> None:
    for hidden in sorted(folder.glob(".bcai-*")):
        if hidden.name == _MOVING or _WRITING.fullmatch(hidden.name):
            _take_over(hidden, folder)


def _take_over(hidden: Path, folder: Path, *, wait: bool = False) -> None:
    """Bring to its end what a dead process began; what a living one does is its own."""
    lock = _lock(hidden, wait=wait)
    if lock is None:
        return
    try:
        if hidden.name == _MOVING:
            _move(hidden, folder)
        else:
            shutil.rmtree(hidden, ignore_errors=True)
    finally:
        _let_go(lock)


def _new_folder(folder: Path) -> tuple[Path, int | None]:
    """A hidden folder, and the descriptor that holds it where the file system knows locks."""
    for _ in range(_TRIES_MAX):
        beside = folder / f".bcai-{uuid.uuid4().hex}"
        beside.mkdir()
        lock = _lock(beside, wait=True)
        if beside.is_dir():  # nobody has taken it for a dead one's before it was locked
            return beside, lock
    raise _too_many(folder)


def _lock(hidden: Path, *, wait: bool) -> int | None:
    """A descriptor that holds a hidden folder; None if somebody else has it, or it is gone."""
    try:
        import fcntl
    except ImportError:  # not Unix: there, what the dead leave stays
        return None
    try:
        lock = os.open(hidden, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if os.path.samestat(os.fstat(lock), hidden.lstat()):
            return lock
    except OSError:  # held, gone, or on a file system without locks
        pass
    os.close(lock)
    return None


def _let_go(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def _swap(beside: Path, folder: Path) -> None:
    """Have the new files count, and move them."""
    moving, new = folder / _MOVING, {file.name for file in beside.iterdir()}
    for name in sorted(new):
        if (folder / name).is_dir():
            raise InputError(f"file {str(folder / name)!r}: a folder has this name")
    for _ in range(_TRIES_MAX):
        (beside / _GONE).unlink(missing_ok=True)
        gone = sorted(earlier_files(folder) - new)
        write_synced(beside / _GONE, json.dumps(gone).encode())
        try:
            beside.rename(moving)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            _take_over(moving, folder, wait=True)
        else:
            _move(moving, folder)
            return
    raise _too_many(folder)


def _move(moving: Path, folder: Path) -> None:
    """Move the new files to their places; where somebody died at it, from there on."""
    left = {file.name for file in moving.iterdir()} - {_GONE}
    if left:
        (folder / RECORD).unlink(missing_ok=True)
        for name in _plain(json.loads((moving / _GONE).read_bytes())):
            if not (folder / name).is_dir():
                (folder / name).unlink(missing_ok=True)
    for name in sorted(left, key=lambda name: name == RECORD):
        (moving / name).replace(folder / name)
    (moving / _GONE).unlink(missing_ok=True)
    with suppress(OSError):  # the next save has it already
        moving.rmdir()


def _plain(names: list[object]) -> list[str]:
    """Those that are names of files in one folder."""
    return [name for name in names if isinstance(name, str) and Path(name).name == name]


def _too_many(folder: Path) -> ConflictError:
    return ConflictError(
        f"folder {str(folder)!r}: others save to it without end",
        hint=f"if nobody does, remove {str(folder / _MOVING)!r}; or save to another folder",
    )
