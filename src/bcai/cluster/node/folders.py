"""The node's own folder: its lock, its identity, and the leftovers of a node that was killed."""

import fcntl
import os
import shutil
import stat
import time
from pathlib import Path

from bcai.base.errors import ConflictError
from bcai.base.ids import new_id


def take_folder(folder: Path) -> int:
    """Lock a node's folder for this process; return the descriptor that holds the lock.

    Raises
    ------
    ConflictError
        Another node works in it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ConflictError(
            f"another node works in {folder}",
            hint="give this one its own folder: BCAI_NODE__HOME=...",
        ) from None
    return handle


def is_taken(folder: Path) -> bool:
    """Whether a node works in a folder at this moment."""
    try:
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def fresh_work_folder(folder: Path) -> Path:
    """Return the folder for running jobs, emptied of what a killed node left."""
    work = folder / "work"
    remove_tree(work)
    work.mkdir(mode=0o700)
    return work


def node_id(folder: Path) -> str:
    """Return this node's identity, made on its first start. The caller holds the folder's lock."""
    file = folder / "id"
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        made = new_id("node", time.time(), os.urandom(10))
    part = file.with_suffix(".part")
    part.write_text(made + "\n")
    part.replace(file)
    return made


def remove_tree(folder: Path) -> None:
    """Remove a folder with everything in it, also where a mode forbids that. It may be absent."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        return
    for path, _, _ in os.walk(folder):
        Path(path).chmod(stat.S_IRWXU)
    shutil.rmtree(folder)
