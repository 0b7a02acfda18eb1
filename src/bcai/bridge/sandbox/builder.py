"""Builds the jail of one warm job, in processes that the zygote has forked ahead of it.

Note [Standing by]
    Forking a process that has PyTorch in it and entering new namespaces takes longer than the rest
    of a jail. So it is done before a job comes: a *builder* and its pid 1 wait in namespaces of
    their own, and pid 1 takes the next request off the zygote's socket. A pair takes one job.
"""

import os
import resource
import select
import signal
import socket
import sys
from typing import Any, NoReturn

from bcai.bridge.sandbox import libc, mounts, namespaces
from bcai.bridge.sandbox.first_process import become_first_process
from bcai.bridge.sandbox.request import DESCRIPTORS, receive, send
from bcai.bridge.sandbox.status import Status

_END_MS = 2000
_GO_BYTES = 16


def stand_by(requests: socket.socket, taken: int) -> NoReturn:
    """Wait for the next job, run it, and end with it or when the host lets go of its leash.

    One byte is written to `taken` as soon as there is a job.
    """
    libc.unshare(namespaces.ALL_BUT_USER)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    alive_read, alive_write = os.pipe()
    first = os.fork()
    if first == 0:
        os.close(alive_write)
        os.close(taken)
        ours.close()
        _wait_for_job(requests, theirs, alive_read)
    requests.close()
    theirs.close()
    os.close(alive_read)
    _, descriptors = receive(ours)
    os.write(taken, b"x")
    os.close(taken)
    if len(descriptors) != 2:
        os._exit(1)
    leash, status_descriptor = descriptors
    wait_or_kill(first, alive_write, leash)
    with Status(status_descriptor) as status:
        # Whatever its end was, everything in the jail has been waited for by its pid 1.
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        status.say(cpu_s=usage.ru_utime + usage.ru_stime, peak=usage.ru_maxrss * 1024)
    os._exit(0)


def _wait_for_job(requests: socket.socket, builder: socket.socket, alive: int) -> NoReturn:
    """Pid 1 of the next job: take it, tell builder and host, and go on when the host says so."""
    import json

    message, descriptors = receive(requests)
    if not message:
        os._exit(0)
    requests.close()
    named = dict(zip(DESCRIPTORS, descriptors, strict=False))
    leash = socket.socket(fileno=named.pop("leash"))
    send(builder, b"taken", [leash.fileno(), named["status"]])
    builder.close()
    leash.send(b"here")  # with our credentials: by them the host knows who we are
    if not leash.recv(_GO_BYTES):
        os._exit(0)
    leash.close()
    trees = descriptors[len(DESCRIPTORS) :]
    plan = {**json.loads(message), "descriptors": named, "trees": trees}
    with Status(named["status"]) as status:
        status.say(wall="own namespaces")
        become_first_process(plan, status, alive, _enter_root)


def _enter_root(plan: dict[str, Any], status: Status) -> None:
    """Turn the zygote's root into this job's, and this interpreter into a fresh one."""
    with status.step("read-only root"):
        targets = [folder["target"] for folder in plan["folders"]]
        trees = list(zip(plan["trees"], targets, strict=True))
        mounts.enter_job_root(trees, plan["disk_bytes"])
        libc.set_host_name(namespaces.HOST_NAME)
    _refresh(plan["environment"])


def _refresh(environment: dict[str, str]) -> None:
    """Give the job its own environment, seeds and threads."""
    import gc
    import random

    gc.enable()
    os.environ.clear()
    os.environ.update(environment)
    random.seed()
    threads = int(environment["OMP_NUM_THREADS"])
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
        torch.seed()


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
