"""What workers that run verified Programs share: their limits, and how failing is told.

No code of the user's runs in them: a Program is data, and the verifier has bounded what it can do.
"""

import resource
import signal
from collections.abc import Generator
from contextlib import contextmanager

from bcai.base.errors import BcaiError
from bcai.base.units import MIB, format_size
from bcai.bridge.sandbox import libc
from bcai.bridge.sandbox.jail import Cause
from bcai.cluster.node.worker_messages import tell

ROOM_BYTES = 1024 * MIB  # for Python, NumPy, the compiler, and threads' stacks


class _BeyondLimitError(Exception):
    """The program would need that much memory; it has not run."""


def used_so_far() -> dict[str, float]:
    """What this process used, under the names of `JailExit`."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu_s": used.ru_utime + used.ru_stime, "memory_bytes_peak": used.ru_maxrss * 1024}


def refuse_beyond(memory_bytes: int, needed: int) -> None:
    """End a job before it runs if it would need more than its limit, with the number."""
    if needed > memory_bytes:
        raise _BeyondLimitError(format_size(needed))


@contextmanager
def within_limits(memory_bytes: int) -> Generator[None, None, None]:
    """Die with the node, take no more memory than allowed, and tell the node of any failure."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    most = memory_bytes + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        yield
    except BcaiError as error:
        tell(kind="failed", cause=Cause.EXCEPTION, message=str(error), hint=error.hint,
             used=used_so_far())  # fmt: skip
    except (_BeyondLimitError, MemoryError) as error:
        needs = str(error) if isinstance(error, _BeyondLimitError) else "more"
        message = f"the program needs {needs} of memory; its limit is {format_size(memory_bytes)}"
        hint = "ask for more with limits.memory"
        tell(kind="failed", cause=Cause.MEMORY, message=message, hint=hint, used=used_so_far())
