"""Says at once what the jail would refuse in silence: workers that are programs of their own."""

import _posixsubprocess
import errno
import os
from typing import Any

NO_PROGRAMS = "a job cannot start other programs"
_STARTERS = ("multiprocessing.spawn import", "multiprocessing.forkserver import")
_TRACKER = "multiprocessing.resource_tracker import"


def explain_spawned_workers() -> None:
    """Fail where `multiprocessing` would spawn a worker.

    The worker's `execve` is refused only after the fork, where nobody looks: a pool would start
    new workers until the job's time is over.
    """
    module: Any = _posixsubprocess
    fork_exec = module.fork_exec

    def checked(arguments: Any, *rest: Any) -> int:
        if any(_TRACKER in str(part) for part in arguments):
            return _track_nothing(max(rest[2]))
        if any(starter in str(part) for part in arguments for starter in _STARTERS):
            raise PermissionError(
                errno.EPERM, f"{NO_PROGRAMS}; for multiprocessing, use the start method 'fork'"
            )
        return fork_exec(arguments, *rest)

    module.fork_exec = checked


def _track_nothing(reads: int) -> int:
    """Stand in for the program that removes what `multiprocessing` shares and forgets.

    There is nothing to remove: `/dev/shm` is the job's own and goes with it.

    Parameters
    ----------
    reads
        The end of the pipe that the program would have read.
    """
    from multiprocessing import resource_tracker

    tracker: Any = vars(resource_tracker)["_resource_tracker"]
    tracker._send = _say_nothing
    os.dup(reads)  # the message that started this is on its way, and must not meet a closed pipe
    return os.getpid()


def _say_nothing(*message: object) -> None:
    return
