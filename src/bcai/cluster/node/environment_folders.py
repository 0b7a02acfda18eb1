"""Where environments come to be and vanish: at no moment does half of one have a name.

Note [Held by its jobs]
    A job holds a shared lock on its environment's manifest, from the moment that it is chosen until
    the job has ended. Who removes an environment marks it first, so that no other job takes it, and
    deletes it with the exclusive lock alone; if there are jobs in it, the node does so after them.
    A job looks for the mark once it has its lock, so one of the two always sees the other.

Whatever is unfinished lies in a folder whose name begins with a dot. Who works in one holds a lock
in it, which the kernel gives back when its holder dies; the next build clears up what is not held.
"""

import fcntl
import os
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from bcai.base.errors import ConflictError, InputError, NotFoundError
from bcai.cluster.node.environments import (
    MANIFEST,
    RETIRED,
    NodeEnvironment,
    environment_names,
    environments_folder,
    unknown_environment,
)
from bcai.cluster.node.folders import remove_tree
from bcai.jobs.environment import OWN_NAME, check_name

_UNFINISHED = ".building-"
_REMOVED = ".removed-"
_HELD = "held"  # locked for as long as anybody works in the folder
_DOOR = ".lock"  # of the folder of all environments


def remove_environment(home: Path, name: str) -> bool:
    """Remove an environment, damaged or not; no job takes it any more.

    Returns
    -------
    Whether it is gone: else jobs use it still, and the node deletes it after the last of them.

    Raises
    ------
    NotFoundError
        There is none of that name.
    """
    check_built_name(name)
    if name not in environment_names(home):
        raise unknown_environment(home, name)
    parent = environments_folder(home)
    (parent / name / RETIRED).touch(mode=0o600)
    clear_retired(parent)
    return not (parent / name).exists()


def clear_retired(parent: Path) -> None:
    """Delete the removed environments that no job uses any more."""
    retired = [mark.parent for mark in parent.glob(f"*/{RETIRED}")]
    if not retired:
        return
    with _alone(parent):
        for folder in retired:
            with suppress(FileNotFoundError, BlockingIOError), _locked(folder, fcntl.LOCK_EX):
                gone = Path(tempfile.mkdtemp(prefix=_REMOVED, dir=parent))
                folder.rename(gone / folder.name)  # now the name is free for another
                remove_tree(gone)


@contextmanager
def held(environment: NodeEnvironment | None) -> Generator[None, None, None]:
    """Keep an environment from being deleted; see Note [Held by its jobs].

    Raises
    ------
    NotFoundError
        It was removed by now.
    """
    if environment is None or environment.folder is None:
        yield
        return
    folder = environment.folder
    removed = NotFoundError(f"environment {folder.name!r} was removed from the node")
    with ExitStack() as stack:
        try:
            stack.enter_context(_locked(folder, fcntl.LOCK_SH))
        except (FileNotFoundError, BlockingIOError):
            raise removed from None
        if (folder / RETIRED).exists() or not (folder / MANIFEST).exists():
            raise removed
        yield


@contextmanager
def _locked(folder: Path, kind: int) -> Generator[None, None, None]:
    """Lock a folder's manifest, or the folder where there is none. Raises if others hold it."""
    file = folder / MANIFEST
    handle = os.open(file if file.exists() else folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


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
