"""Builds the jail of one warm job, in processes that the zygote has forked ahead of it.

Note [Standing by]
    Forking a process that has PyTorch in it, new namespaces and the way into a control group take
    longer than the rest of a jail. So they are done before a job comes: a *builder*, its pid 1 and
    the process that will be the job wait in namespaces of their own, which hold nothing of any job.
    They take one job.

Note [Rehearsal]
    A forked process shares its memory with its parent until it writes to it, and copies each page
    when it first does. To seed PyTorch's generators takes 3 ms for that reason, and to assemble the
    filter of system calls 1 ms. The job's process has done both, and with it most of the writing
    that there is to do, before it is given a job.
"""

import os
import resource
import select
import signal
import socket
import sys
from typing import Any, NoReturn

from bcai.bridge.sandbox import libc, mounts, namespaces
from bcai.bridge.sandbox.confine import become_job
from bcai.bridge.sandbox.first_process import hide, oversee
from bcai.bridge.sandbox.request import PREPARED, REQUESTED, receive, send
from bcai.bridge.sandbox.status import Status
from bcai.bridge.sandbox.syscall_policy import job_filter
from bcai.bridge.sandbox.syscalls import machine

_END_MS = 2000


def stand_by(descriptors: list[int]) -> NoReturn:
    """Prepare a jail for the next job; end with it, or when the host lets go of its leash."""
    named: dict[str, int] = dict(zip(PREPARED, descriptors, strict=False))
    doors = descriptors[len(PREPARED) :]
    status = Status(named["status"])
    with status.step("own namespaces"):
        libc.unshare(namespaces.ALL_BUT_USER)
    alive_read, alive_write = os.pipe()
    first = os.fork()
    if first == 0:
        os.close(alive_write)
        _prepare(named, doors, alive_read, status)
    for descriptor in (alive_read, *doors, *(named[name] for name in _THE_JOBS)):
        os.close(descriptor)
    wait_or_kill(first, alive_write, named["leash"])
    with status:
        # Whatever its end was, everything in the jail has been waited for by its pid 1.
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        status.say(cpu_s=usage.ru_utime + usage.ru_stime, peak=usage.ru_maxrss * 1024)
    os._exit(0)


_THE_JOBS = ("stdout", "stderr", "control")


def _prepare(named: dict[str, int], doors: list[int], alive: int, status: Status) -> NoReturn:
    """Pid 1 of the next job: do what needs no job, wait for one, and run it."""
    import json

    leash = socket.socket(fileno=named.pop("leash"))
    leash.send(b"here")  # with our credentials: by them the host knows who we are
    with status.step("control group"):
        for door in doors:
            os.write(door, b"0")  # this process, and all it starts from now on
            os.close(door)
    with status.step("read-only root"):
        mounts.leave_zygote()
        libc.set_host_name(namespaces.HOST_NAME)
    hide()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    job = os.fork()
    if job == 0:
        os.close(alive)
        leash.close()
        ours.close()
        _await_plan(theirs, named, status)
    theirs.close()
    for name in _THE_JOBS:
        os.close(named[name])
    message, descriptors = receive(leash)
    leash.close()
    if not message:
        os._exit(0)
    plan = json.loads(message)
    if "failed" in plan:  # the keeper could not open the job's folders
        status.say(**plan)
        os._exit(1)
    given, trees = descriptors[: len(REQUESTED)], descriptors[len(REQUESTED) :]
    with status.step("the job's folders"):
        targets = [folder["target"] for folder in plan["folders"]]
        trees_at = list(zip(trees, targets, strict=True))
        mounts.enter_job_root(
            trees_at, plan["disk_bytes"], plan["inodes"], programs=plan["programs"]
        )
    send(ours, message, given)
    ours.close()
    for descriptor in given:
        os.close(descriptor)
    oversee(job, plan, status, alive)


def _await_plan(first: socket.socket, named: dict[str, int], status: Status) -> NoReturn:
    """Stand by as the job's own process: rehearse, wait until the jail is complete, enter it."""
    import json

    _rehearse()
    message, descriptors = receive(first)
    first.close()
    if not message:
        os._exit(0)
    plan = json.loads(message)
    plan["descriptors"] = named | dict(zip(REQUESTED, descriptors, strict=True))
    _take_environment(plan["environment"])
    become_job(plan, status)


def _rehearse() -> None:
    """Do what every job needs and no job knows of."""
    import gc
    import random

    gc.enable()
    random.seed()
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.seed()
    job_filter(machine())


def _take_environment(environment: dict[str, str]) -> None:
    """Give the job its own environment and threads."""
    os.environ.clear()
    os.environ.update(environment)
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))


def wait_or_kill(first: int, alive_write: int, leash: int) -> None:
    """Wait for the jail; end it when the launcher lets go of the leash.

    Waiting for pid 1 of a pid namespace returns only when every process in it is gone, so the
    launcher, which waits for us, knows that nothing of the job is left.
    """
    process = os.pidfd_open(first)
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.register(leash, select.POLLHUP)  # what may be said on it is not for us
    if all(descriptor != process for descriptor, _ in poll.poll()):
        os.close(alive_write)  # it ends everything itself, so that what was used can be counted
        poll.unregister(leash)
        if not poll.poll(_END_MS):
            os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
