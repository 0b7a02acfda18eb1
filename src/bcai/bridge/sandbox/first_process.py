"""Pid 1 of a jail: builds the file system, starts the job, watches what it uses, says how it ended.

It runs as the job's own uid, so it must be out of the job's reach: it is not dumpable (its memory
and /proc entries are closed), it is outside the job's Landlock domain and user namespace, the
kernel ignores signals to pid 1 from inside, and prlimit on it is refused by seccomp.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn

from bcai.bridge.sandbox import libc, mounts
from bcai.bridge.sandbox.confine import become_job
from bcai.bridge.sandbox.status import Status
from bcai.bridge.sandbox.watchdog import (
    RecentKills,
    Watchdog,
    has_file_of,
    times_out_of_memory,
)

_POLL_MS, _POLL_MS_MAX = 50, 500
_KILLS_S = 0.4  # to look at the machine's kills costs a third of a look at the job
_TOLD_TIMES_MAX = 64  # how often, at most, the host is told of a new peak of memory


EnterRoot = Callable[[dict[str, Any], Status], None]
"""Gives the jail its file system, and this process an ordinary user."""


def become_first_process(
    plan: dict[str, Any], status: Status, parent_alive: int, enter_root: EnterRoot
) -> NoReturn:
    """Build the rest of the jail around this process, run the job, and exit with it."""
    enter_root(plan, status)
    hide()
    job = os.fork()
    if job == 0:
        os.close(parent_alive)
        become_job(plan, status)
    for name, descriptor in plan["descriptors"].items():
        if name != "status":
            os.close(descriptor)
    oversee(job, plan, status, parent_alive)


def hide() -> None:
    """Put pid 1 out of the job's reach, and let it die with its parent."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which clears it
    libc.prctl(libc.PR_SET_DUMPABLE, 0)


def oversee(job: int, plan: dict[str, Any], status: Status, parent_alive: int) -> NoReturn:
    """Watch the job until it ends, or has to, and exit with all that it has started."""
    watchdog = Watchdog(plan["memory_bytes"], plan.get("cpu_s"), plan.get("inodes", mounts.INODES))
    watch(job, watchdog, status, parent_alive)
    _end_all()
    with contextlib.suppress(OSError):  # nobody is left to hear it
        if (size := plan.get("file_bytes")) is not None and has_file_of(mounts.WRITABLE, size):
            status.say(full_file=True)
    os._exit(0)


def _end_all() -> None:
    """Kill and collect what is left: only then does its time count as used by the job."""
    try:
        os.kill(-1, signal.SIGKILL)  # everything in this pid namespace but us
    except ProcessLookupError:
        return
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def watch(job: int, watchdog: Watchdog, status: Status, parent_alive: int) -> None:
    """Return when the job has ended, uses too much, or nobody wants it any more; say how it was."""
    with contextlib.suppress(OSError):  # nobody is left to hear it
        _watch(job, watchdog, status, parent_alive)
        watchdog.look()
        status.say(seen=watchdog.seen())


def _watch(job: int, watchdog: Watchdog, status: Status, parent_alive: int) -> None:
    process = os.pidfd_open(job)
    kills = RecentKills(times_out_of_memory, time.monotonic)
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.register(parent_alive, select.POLLIN | select.POLLHUP)
    pause_ms, told_bytes, kills_at = _POLL_MS, 0, 0.0
    while not (events := poll.poll(pause_ms)):
        spent_s = watchdog.look()
        if (now := time.monotonic()) >= kills_at:
            kills_at = now + _KILLS_S
            kills.look()
        # A tenth of one core, unless a job makes each look so slow that it could hide meanwhile.
        pause_ms = min(max(_POLL_MS, int(spent_s * 10_000)), _POLL_MS_MAX)
        if watchdog.violation:
            status.say(over=watchdog.violation)
            return
        if watchdog.peak_bytes - told_bytes > watchdog.memory_bytes // _TOLD_TIMES_MAX:
            told_bytes = watchdog.peak_bytes
            status.say(memory_bytes=told_bytes)
        _reap_orphans(job)
    if all(descriptor != process for descriptor, _ in events):
        return  # the launcher is gone
    watchdog.look()  # now, while it still counts
    _, ended = os.waitpid(job, 0)
    code = os.waitstatus_to_exitcode(ended)
    if code == -signal.SIGKILL and kills.look():
        status.say(machine_out_of_memory=True)
    status.say(ended=code)


def _reap_orphans(job: int) -> None:
    """Collect grandchildren that lost their parent, so that dead ones do not fill the table."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid == job:
            return  # the job itself is collected by the caller
        os.waitpid(found.si_pid, 0)
