"""The program that builds a jail and runs one job in it. Started fresh by `launcher.py`.

    python -P -s -S -B build_jail.py < plan.json

Three processes, each of which trusts only the ones before it:

1. this one stays outside the job's pid namespace. It builds the namespaces, starts 2 and kills
   it as soon as the launcher closes our standard input (or dies).
2. `first_process.py` is pid 1 inside: it builds the file system, gives up root, starts 3, watches
   memory, and reports how 3 ended. When it exits, the kernel kills whatever the job left behind.
3. `confine.py` puts itself behind the last walls and becomes the user's Python.

Only 1 and 2 hold the status pipe, so a job cannot lie about how it ended. Nothing of the user runs
until all walls stand; a step that fails is reported by name and ends the jail. Where namespaces
cannot be made, `alone.py` builds what can be.
"""

import json
import os
import resource
import signal
import sys
from typing import Any

sys.path.insert(0, os.path.abspath(__file__ + "/../../../.."))

from bcai.bridge.sandbox import libc, mounts, namespaces
from bcai.bridge.sandbox.builder import wait_or_kill
from bcai.bridge.sandbox.first_process import become_first_process
from bcai.bridge.sandbox.plan import read_line
from bcai.bridge.sandbox.status import Status


def main() -> None:
    """Read the plan from standard input, build, and wait."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    plan = json.loads(read_line(0))
    if os.getppid() != plan["parent"]:
        os._exit(1)  # the launcher died before we asked to die with it
    with Status(plan["status"]) as status:
        if plan.get("level") in ("C", "none"):
            from bcai.bridge.sandbox.alone import run_alone

            run_alone(plan, status)
        else:
            _run_in_namespaces(plan, status)
        # Whatever its end was, everything in the jail has been waited for by now.
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        status.say(cpu_s=usage.ru_utime + usage.ru_stime, peak=usage.ru_maxrss * 1024)


def _run_in_namespaces(plan: dict[str, Any], status: Status) -> None:
    """Build a jail of the levels A and B, and wait for its end."""
    binds = [mounts.Bind(**bind) for bind in plan["binds"]]
    outside_id = namespaces.own_id(status)
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

        def enter_root(plan: dict[str, Any], status: Status) -> None:
            _enter_root(plan, status, binds, maps, outside_id)

        become_first_process(plan, status, alive_read, enter_root)
    os.close(alive_read)
    for name, descriptor in plan["descriptors"].items():
        if name != "status":
            os.close(descriptor)
    wait_or_kill(first, alive_write, 0)


def _enter_root(
    plan: dict[str, Any],
    status: Status,
    binds: list[mounts.Bind],
    maps: mounts.OwnerMaps,
    outside_id: int | None,
) -> None:
    """Build the file system and give up root."""
    with status.step("read-only root"):
        mounts.build_root(
            binds,
            plan["disk_bytes"],
            outside_id,
            maps,
            programs=plan.get("programs", False),
            inodes=plan.get("inodes", mounts.INODES),
            gpu_devices=plan.get("gpu_devices", ()),
        )
        libc.set_host_name(namespaces.HOST_NAME)
    if outside_id is not None:
        with status.step("unprivileged user"):
            namespaces.become(outside_id)


if __name__ == "__main__":
    main()
