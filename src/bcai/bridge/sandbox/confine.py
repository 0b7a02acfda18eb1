"""The last walls, put up by the process that becomes the user's Python. None can be taken down."""

import os
from typing import Any, NoReturn

from bcai.bridge.sandbox import landlock, libc, limits, mounts, namespaces
from bcai.bridge.sandbox.status import Status
from bcai.bridge.sandbox.syscall_policy import job_filter
from bcai.bridge.sandbox.syscalls import machine

CONTROL = 3
OUTPUTS = 4
INPUTS = 5
_OPEN_FILES_MAX = 1 << 16
COMPILE_ALONE = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
"""Lets PyTorch compile in the process that asks for it, not in a pool of more processes."""


def become_job(plan: dict[str, Any], status: Status) -> NoReturn:
    """Confine this process, which has namespaces of its own, and run the guest in it."""
    programs = bool(plan.get("programs"))
    if programs:
        os.environ.update(COMPILE_ALONE)
    os.setsid()
    with status.step("nested user namespace"):
        namespaces.enter_user_namespace(libc.CLONE_NEWNS)
    os.chdir(mounts.WORK)
    mounts.link_inputs(plan["linked"])
    job_status = arrange_descriptors(plan["descriptors"])
    with job_status.step("resource limits"):
        limits.prefer_to_kill()
        limits.apply_plan(plan)
    give_up_rights(job_status)
    gpu_devices = [target for _, target in plan.get("gpu_devices", ())]
    with job_status.step("Landlock"):
        abi = landlock.restrict(
            ["/"],
            list(mounts.WRITABLE),
            [*mounts.DEVICES, *gpu_devices],
            executable=["/"] if programs else [],
            rewritable=[_own_tasks()] if gpu_devices else [],
        )
    job_status.say(landlock=abi)
    with job_status.step("seccomp"):
        libc.seccomp_load(job_filter(machine(), programs=programs, gpu=bool(gpu_devices)))
    if plan["guest"] is None:
        from bcai.bridge.sandbox.self_test import test_walls

        test_walls(job_status, programs=programs)
        os._exit(0)
    run(plan, job_status)


def _own_tasks() -> str:
    """The folder of this process's threads, kept open: so long do rules for it stay true to it."""
    folder = os.open("/proc/self/task", os.O_PATH | os.O_DIRECTORY)  # closed when the job ends
    return f"/proc/self/fd/{folder}"


def give_up_rights(status: Status) -> None:
    """Drop what root may do, and every way to get it back."""
    with status.step("no new privileges"):
        libc.drop_all_capabilities()
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)


def run(plan: dict[str, Any], job_status: Status) -> NoReturn:
    """Become the user's Python; all walls stand."""
    try:
        from bcai.bridge.guest.runner import run_guest

        job_status.say(started=True)
        guest = plan["guest"]
        plan.clear()  # the rest names folders of the host
        os.close(_STATUS)
        run_guest(guest)
    except MemoryError:  # before the script's first line: no frame of it would be the user's
        os.write(2, b"MemoryError\n")
        os._exit(1)


_STATUS = 6


def arrange_descriptors(descriptors: dict[str, int]) -> Status:
    """Keep the job's own descriptors under fixed numbers and close all others."""
    order = ("stdout", "stderr", "control", "outputs", "inputs", "status")
    high = [_duplicate_high(descriptors[name]) for name in order]
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    for number, descriptor in enumerate(high, start=1):
        os.dup2(descriptor, number)
    os.closerange(_STATUS + 1, _OPEN_FILES_MAX)
    return Status(_STATUS)


def _duplicate_high(descriptor: int) -> int:
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, 100)
