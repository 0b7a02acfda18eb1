"""Says at once what the jail would refuse in silence: workers that are programs of their own."""

import _posixsubprocess
import errno
from typing import Any

NO_PROGRAMS = "a job cannot start other programs"
_STARTERS = (
    "multiprocessing.spawn import",
    "multiprocessing.forkserver import",
    "multiprocessing.resource_tracker import",  # both start it first; pipes to it would break
)


def explain_spawned_workers() -> None:
    """Fail where `multiprocessing` would spawn a worker.

    The worker's `execve` is refused only after the fork, where nobody looks: a pool would start
    new workers until the job's time is over.
    """
    module: Any = _posixsubprocess
    fork_exec = module.fork_exec

    def checked(arguments: Any, *rest: Any) -> int:
        if any(starter in str(part) for part in arguments for starter in _STARTERS):
            raise PermissionError(
                errno.EPERM, f"{NO_PROGRAMS}; for multiprocessing, use the start method 'fork'"
            )
        return fork_exec(arguments, *rest)

    module.fork_exec = checked
