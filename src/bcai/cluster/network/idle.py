"""When a network that was started for a client may stop: nobody uses it, and nothing is left."""

import fcntl
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import anyio

LOOK_S_MAX = 1.0


async def until_idle(
    users_lock: Path, idle_s: float, has_work: Callable[[], Awaitable[bool]]
) -> None:
    """Return once nobody has held the lock and no job was unfinished for `idle_s`.

    Every client holds the lock, shared, while it lives. We return holding it exclusively, so a
    client that comes now waits until we are gone, and starts a network of its own.
    """
    handle = os.open(users_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    free_since = time.monotonic()
    while True:
        await anyio.sleep(min(idle_s / 4, LOOK_S_MAX))
        if not _try_lock(handle):
            free_since = time.monotonic()
            continue
        is_due = time.monotonic() - free_since >= idle_s
        if await has_work():
            free_since = time.monotonic()
        elif is_due:
            return
        fcntl.flock(handle, fcntl.LOCK_UN)


def _try_lock(handle: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
