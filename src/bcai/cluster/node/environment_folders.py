"""Where environments come to be and vanish: at no moment does half of one have a name.

Whatever is unfinished lies in a folder whose name begins with a dot. Who works in one holds a lock
in it, which the kernel gives back when its holder dies; the next build clears up what is not held.
"""

import fcntl
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from bcai.base.errors import ConflictError, InputError, NotFoundError
from bcai.cluster.node.environments import environment_names, environments_folder
from bcai.cluster.node.folders import is_taken, remove_tree
from bcai.jobs.environment import OWN_NAME, check_name

_UNFINISHED = ".building-"
_REMOVED = ".removed-"
_HELD = "held"  # locked for as long as anybody works in the folder
_DOOR = ".lock"  # of the folder of all environments


def remove_environment(home: Path, name: str) -> None:
    """Remove an environment, damaged or not.

    Raises
    ------
    NotFoundError
        There is none of that name.
    ConflictError
        A node is running: its jobs may be using it.
    """
    check_built_name(name)
    if name not in environment_names(home):
        known = ", ".join(environment_names(home)) or "none"
        raise NotFoundError(f"environment {name!r}: there is none; there are: {known}")
    if is_taken(home):
        raise ConflictError(
            f"environment {name!r}: the node in {home} is running, and its jobs may be using it",
            hint="stop the node first (bcai down, for a network on this machine)",
        )
    parent = environments_folder(home)
    with _alone(parent):
        gone = Path(tempfile.mkdtemp(prefix=_REMOVED, dir=parent))
        (parent / name).rename(gone / name)  # from here on it does not count, whatever happens
        remove_tree(gone)


def check_built_name(name: str) -> None:
    """Refuse what no environment that is built can be called."""
    if check_name(name) == OWN_NAME:
        raise InputError(
            f"environment {OWN_NAME!r} is the Python that runs the node; its packages are "
            "installed and removed there"
        )


@contextmanager
def _alone(parent: Path) -> Generator[None, None, None]:
    """Keep others from adding and removing folders; they wait."""
    door = os.open(parent / _DOOR, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        yield
    finally:
        os.close(door)


@contextmanager
def unfinished_folder(parent: Path) -> Generator[tuple[Path, int], None, None]:
    """A folder to build in, and the descriptor that says that somebody does."""
    with _alone(parent):
        _clear_unfinished(parent)
        folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=parent))
        held = os.open(folder / _HELD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield folder, held
    finally:
        os.close(held)
        remove_tree(folder)


def _clear_unfinished(parent: Path) -> None:
    """Remove what builds and removals that were killed left behind."""
    for folder in [*parent.glob(_UNFINISHED + "*"), *parent.glob(_REMOVED + "*")]:
        held = os.open(folder / _HELD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # somebody builds there, or a pip that outlived its caller
        finally:
            os.close(held)
        remove_tree(folder)


def publish(folder: Path, place: Path) -> None:
    """Give a finished folder its name, if nobody was quicker."""
    (folder / _HELD).unlink()
    folder.chmod(0o755)
    try:
        folder.rename(place)
    except OSError as error:
        raise ConflictError(f"environment {place.name!r}: {error.strerror}") from error
