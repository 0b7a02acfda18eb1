"""The program that builds a jail and runs one job in it. Started fresh by `launcher.py`.

    python -I -S -B build_jail.py < plan.json

Three processes, each of which trusts only the ones before it:

1. this one stays outside the job's pid namespace. It builds the namespaces, starts 2 and kills
   it as soon as the launcher closes our standard input (or dies).
2. `first_process.py` is pid 1 inside: it builds the file system, gives up root, starts 3, watches
   memory, and reports how 3 ended. When it exits, the kernel kills whatever the job left behind.
3. `confine.py` puts itself behind the last walls and becomes the user's Python.

Only 1 and 2 hold the status pipe, so a job cannot lie about how it ended. Nothing of the user runs
until all walls stand; a step that fails is reported by name and ends the jail.
"""

import json
import os
import resource
import select
import signal
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../../.."))

from bcai.bridge.sandbox import libc, mounts, namespaces
from bcai.bridge.sandbox.first_process import become_first_process
from bcai.bridge.sandbox.status import Status

_PLAN_BYTES_MAX = 4 << 20
_END_MS = 2000


def main() -> None:
    """Read the plan from standard input, build, and wait."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    plan = json.loads(_read_line(0))
    if os.getppid() != plan["parent"]:
        os._exit(1)  # the launcher died before we asked to die with it
    with Status(plan["status"]) as status:
        binds = [mounts.Bind(**bind) for bind in plan["binds"]]
        outside_id = namespaces.unused_id() if os.geteuid() == 0 else None
        with status.step("user namespace"):
            maps = mounts.owner_maps(binds, outside_id)
            if outside_id is None:
                namespaces.enter_user_namespace()
        with status.step("own namespaces"):
            libc.unshare(namespaces.ALL_BUT_USER)
        alive_read, alive_write = os.pipe()
        first = os.fork()
        if first == 0:
            os.close(alive_write)
            os.close(0)
            become_first_process(plan, binds, maps, status, outside_id, alive_read)
        os.close(alive_read)
        for name, descriptor in plan["descriptors"].items():
            if name != "status":
                os.close(descriptor)
        _wait_or_kill(first, alive_write)
        # Whatever its end was, everything in the jail has been waited for by its pid 1.
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        status.say(cpu_s=usage.ru_utime + usage.ru_stime, peak=usage.ru_maxrss * 1024)


def _read_line(descriptor: int) -> bytes:
    """Read up to a newline, nothing more: the pipe stays open as our leash."""
    line = b""
    while not line.endswith(b"\n") and len(line) <= _PLAN_BYTES_MAX:
        chunk = os.read(descriptor, 65536)
        if not chunk:
            os._exit(1)
        line += chunk
    return line


def _wait_or_kill(first: int, alive_write: int) -> None:
    """Wait for the jail; end it when the launcher lets go of the leash.

    Waiting for pid 1 of a pid namespace returns only when every process in it is gone, so the
    launcher, which waits for us, knows that nothing of the job is left.
    """
    process = os.pidfd_open(first)
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.register(0, select.POLLIN | select.POLLHUP)
    if all(descriptor != process for descriptor, _ in poll.poll()):
        os.close(alive_write)  # it ends everything itself, so that what was used can be counted
        poll.unregister(0)
        if not poll.poll(_END_MS):
            os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)


if __name__ == "__main__":
    main()
