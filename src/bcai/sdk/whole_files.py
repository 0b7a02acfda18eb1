"""The files of one result, which take their places in a folder together or not at all."""

import errno
import os
import shutil
import uuid
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from bcai.base.errors import InputError, ResourceError

RECORD = "result.json"  # its presence says that all files of a result are there


@contextmanager
def swapped_in(folder: Path, stale: Iterable[str] = ()) -> Generator[Path]:
    """A new folder inside of `folder`, whose files take their places there at the end.

    Until then all that `folder` has stays as it is, and for good where something fails. It is
    inside, since a file moves without a copy within one file system alone.

    Parameters
    ----------
    stale
        Names of files that go when the new ones come.

    Raises
    ------
    InputError, ResourceError
        The folder cannot be written, or the disk is full.
    """
    beside = folder / f".bcai-{uuid.uuid4().hex}"
    try:
        beside.mkdir(parents=True)
        yield beside
        _swap(beside, folder, stale)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        refused = ResourceError if is_full else InputError
        raise refused(f"folder {str(folder)!r}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file, down to the disk. Raises OSError."""
    with path.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _swap(beside: Path, folder: Path, stale: Iterable[str]) -> None:
    new = sorted(beside.iterdir(), key=lambda file: file.name == RECORD)
    for file in new:
        if (folder / file.name).is_dir():
            raise InputError(f"file {str(folder / file.name)!r}: a folder has this name")
    (folder / RECORD).unlink(missing_ok=True)
    for name in set(stale) - {file.name for file in new}:
        if not (folder / name).is_dir():
            (folder / name).unlink(missing_ok=True)
    for file in new:
        file.replace(folder / file.name)
