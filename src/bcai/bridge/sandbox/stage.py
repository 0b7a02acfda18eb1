"""The folder of a job that has no file system of its own (level C, and none).

    FOLDER/job       where it starts: links to the entries of its project and its data
    FOLDER/project   copies of both, made only where the job gets a user id that may not
    FOLDER/data      read the originals
    FOLDER/cache     where libraries look for their caches; empty
    FOLDER/other     belongs to nobody's job; the probe tries to read it

The launcher makes FOLDER and removes it. While it lives it holds a lock on it, which the kernel
takes back when it dies, in whichever container that was: what has been left by launchers that were
killed goes when the next folder is made, and nobody else's does.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from dataclasses import dataclass

_PREFIX = "bcai-job-"
_NEW_PREFIX = "bcai-new-"  # not locked yet
_OTHERS_MAY_READ = 0o004
_COPY_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class Places:
    """Where a staged job finds its files."""

    work: str
    project: str | None
    data: str | None
    cache: str
    other: str

    @property
    def readable(self) -> list[str]:
        """What it may read."""
        return [self.work, self.cache, *(place for place in (self.project, self.data) if place)]


@contextlib.contextmanager
def own_folder() -> Generator[str, None, None]:
    """A folder for one job, which goes with the `with` block, or after the end of this process.

    Raises
    ------
    OSError
        It cannot be made.
    """
    parent = tempfile.gettempdir()
    _remove_left(parent)
    made = tempfile.mkdtemp(prefix=_NEW_PREFIX, dir=parent)
    folder = os.path.join(parent, _PREFIX + os.path.basename(made).removeprefix(_NEW_PREFIX))
    with _open_folder(made) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(made, folder)  # only now it may be looked at by others, and is locked
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_left(parent: str) -> None:
    """Remove the folders that nobody holds; those of other users are left alone."""
    for name in os.listdir(parent):
        if name.startswith(_PREFIX):
            folder = os.path.join(parent, name)
            # No permission, no folder any more, or a lock of somebody who lives.
            with contextlib.suppress(OSError), _open_folder(folder) as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _open_folder(path: str) -> Generator[int, None, None]:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def stage(folder: str, project: str | None, data: str | None, outside_id: int | None) -> Places:
    """Fill the folder.

    Parameters
    ----------
    outside_id
        The user id that the job will have, if it differs from ours.
    """
    if outside_id is not None:
        project = _own_copy(project, f"{folder}/project", outside_id)
        data = _own_copy(data, f"{folder}/data", outside_id)
    work, cache, other = f"{folder}/job", f"{folder}/cache", f"{folder}/other"
    os.mkdir(work, 0o700)
    os.mkdir(cache, 0o700)
    for source in (project, data):
        for name in sorted(os.listdir(source)) if source else ():
            os.symlink(f"{source}/{name}", f"{work}/{name}")
    with open(other, "w", encoding="ascii") as file:
        file.write("not for this job\n")
    if outside_id is not None:
        for place in (folder, work, cache, other):
            os.chown(place, outside_id, outside_id)
    return Places(work, project, data, cache, other)


def _own_copy(source: str | None, target: str, owner: int) -> str | None:
    """Copy a tree for another user; files that everybody may read are linked where that works."""
    if source is None:
        return None
    os.mkdir(target, 0o700)
    os.chown(target, owner, owner)
    for entry in os.scandir(source):
        place = f"{target}/{entry.name}"
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), place)
        elif entry.is_dir():
            _own_copy(entry.path, place, owner)
        elif entry.is_file():
            _copy_file(entry.path, place, owner)
    return target


def _copy_file(source: str, target: str, owner: int) -> None:
    if os.stat(source).st_mode & _OTHERS_MAY_READ:
        with contextlib.suppress(OSError):  # another file system
            os.link(source, target)
            return
    with open(source, "rb") as old, open(target, "wb") as new:
        os.fchmod(new.fileno(), 0o400)
        os.fchown(new.fileno(), owner, owner)
        shutil.copyfileobj(old, new, _COPY_BYTES)
