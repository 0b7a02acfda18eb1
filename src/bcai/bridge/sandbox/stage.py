"""The folder of a job that has no file system of its own (level C, and none).

    FOLDER/job       where it starts: links to the entries of its project and its data
    FOLDER/project   copies of both, made only where the job gets a user id that may not
    FOLDER/data      read the originals
    FOLDER/cache     where libraries look for their caches; empty
    FOLDER/other     belongs to nobody's job; the probe tries to read it

The launcher makes FOLDER and removes it; what has been left by launchers that were killed goes when
the next one is made.
"""

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass

_PREFIX = "bcai-job-"
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


def new_folder() -> str:
    """Make the folder; the name says whose it is."""
    parent = tempfile.gettempdir()
    for name in os.listdir(parent):
        pid = name.removeprefix(_PREFIX).partition("-")[0]
        if name.startswith(_PREFIX) and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            remove_folder(os.path.join(parent, name))
    return tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent)


def remove_folder(folder: str) -> None:
    """Remove it with all that is in it; one of another user's is left alone."""
    shutil.rmtree(folder, ignore_errors=True)


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
