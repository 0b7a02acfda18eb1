"""The program that keeps a warm Python and forks a jail for every job. Started by `warm_python.py`.

    python -P -s -S -B zygote.py < plan.json

Three kinds of processes, each of which trusts only the ones before it:

1. the *keeper* (this program) stays where the host's files can be seen. For every job it opens the
   job's folders as detached, read-only mounts and hands them on. It never runs what a user wrote.
2. the *zygote* has its own namespaces and a read-only root with the Python environment alone. It
   gives up root, imports the preloaded packages, and forks. It sees no job's files.
3. a *builder* for every job, forked from the zygote ahead of it (Note [Standing by]): new
   namespaces, pid 1 (`first_process.py`) and the job itself (`confine.py`), behind the same walls
   as on the cold path.

Note [Warm and cold]
    A warm job differs from a cold one in what is imported already, and in nothing that it can
    tell: environment, seeds and threads are set anew after the fork. A fork is safe since the
    zygote has one thread and no open connection but the one to its keeper. Pages of the zygote are
    shared until a job writes to them, so a job pays for what it changes.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
from typing import Any, NoReturn

sys.path.insert(0, os.path.abspath(__file__ + "/../../../.."))

from bcai.bridge.sandbox import libc, mounts, namespaces
from bcai.bridge.sandbox.builder import stand_by
from bcai.bridge.sandbox.plan import read_line
from bcai.bridge.sandbox.request import FOLDERS_MAX, PREPARE, receive, send
from bcai.bridge.sandbox.status import Status

GUEST = (
    "bcai.bridge.guest.runner",
    "bcai.bridge.guest.capture",
    "bcai.bridge.guest.failure",
    "bcai.bridge.tensor_file",
)
"""Modules that every job needs, from its first line to its last."""

_HUGE_BYTES = 2 << 20
_MAP_FIELDS = 5  # of a line of /proc/self/maps without a name
_SCRATCH_BYTES = 16 << 20  # what imports may leave while the zygote warms up


def main() -> None:
    """Read the plan, start the zygote, serve requests until the host lets go."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    plan = json.loads(read_line(0))
    if os.getppid() != plan["parent"]:
        os._exit(1)  # the host died before we asked to die with it
    requests = socket.socket(fileno=plan["requests"])
    with Status(plan["status"]) as status:
        binds = [mounts.Bind(**bind) for bind in plan["binds"]]
        outside_id = namespaces.own_id(status)
        with status.step("user namespace"):
            maps = mounts.owner_maps(binds, outside_id)
            if outside_id is None:
                namespaces.enter_user_namespace(libc.CLONE_NEWNS)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        alive_read, alive_write = os.pipe()
        outer = os.fork()
        if outer == 0:
            os.close(0)
            requests.close()
            ours.close()
            os.close(alive_write)
            _start_zygote(plan, binds, maps, status, outside_id, theirs, alive_read)
        theirs.close()
        os.close(alive_read)
    _keep(requests, ours, outside_id, maps, outer)


def _keep(
    requests: socket.socket,
    zygote: socket.socket,
    outside_id: int | None,
    maps: mounts.OwnerMaps,
    outer: int,
) -> None:
    """Pass requests on, with the trees of their folders, until the host or the zygote is gone."""
    ended = os.pidfd_open(outer)
    poll = select.poll()
    for descriptor in (0, requests.fileno(), ended):
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if ended in ready or 0 in ready:
            os._exit(0)  # the zygote and all its jobs die with us
        message, descriptors = receive(requests)
        if not message:
            os._exit(0)
        if message == PREPARE:
            send(zygote, message, descriptors)
        else:
            _pass_on(message, descriptors, outside_id, maps)
        for descriptor in descriptors:
            os.close(descriptor)


def _pass_on(
    message: bytes, descriptors: list[int], outside_id: int | None, maps: mounts.OwnerMaps
) -> None:
    """Send a job to the jail at the other end of its leash, with the trees of its folders.

    If they cannot be opened, the jail tells the host, and this one job does not start.
    """
    *given, leash = descriptors
    trees: list[int] = []
    with socket.socket(fileno=os.dup(leash)) as jail, contextlib.suppress(BrokenPipeError):
        try:
            trees = _open_folders(json.loads(message), outside_id, maps)
        except OSError as error:
            reason = {"failed": "the job's folders", "error": str(error)[:500]}
            send(jail, json.dumps(reason).encode(), [])
        else:
            send(jail, message, [*given, *trees])
    for tree in trees:
        os.close(tree)


def _open_folders(
    request: dict[str, Any], outside_id: int | None, maps: mounts.OwnerMaps
) -> list[int]:
    """Detached mounts of the job's folders, which only it will see."""
    if len(request["folders"]) > FOLDERS_MAX:
        raise OSError(f"{len(request['folders'])} folders, at most {FOLDERS_MAX}")
    binds = [mounts.Bind(**each) for each in request["folders"]]
    if outside_id is not None:
        maps |= mounts.owner_maps(binds, outside_id, maps)
    return [mounts.read_only_tree(each, maps) for each in binds]


def _start_zygote(
    plan: dict[str, Any],
    binds: list[mounts.Bind],
    maps: mounts.OwnerMaps,
    status: Status,
    outside_id: int | None,
    keeper: socket.socket,
    alive: int,
) -> NoReturn:
    """Enter new namespaces and become pid 1 of them, from which jobs are forked."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    with status.step("own namespaces"):
        libc.unshare(namespaces.ALL_BUT_USER)
    first = os.fork()
    if first:
        keeper.close()
        poll = select.poll()
        process = os.pidfd_open(first)
        poll.register(process, select.POLLIN)
        poll.register(alive, select.POLLHUP)
        poll.poll()
        os._exit(0)
    os.close(alive)
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    with status.step("read-only root"):
        mounts.build_root(binds, _SCRATCH_BYTES, outside_id, maps, for_jobs=True)
    if outside_id is not None:
        with status.step("unprivileged user"):
            namespaces.become(outside_id)
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)  # cleared by the change of user
    with status.step("nested user namespace"):
        namespaces.enter_user_namespace(libc.CLONE_NEWNS)
    os.chdir(mounts.WORK)
    with status.step("preload"):
        warm_up(plan["sys_path"], plan["preload"])
    os.chdir("/")
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    status.say(ready=True, threads=len(os.listdir("/proc/self/task")))
    os.close(plan["status"])
    _serve(keeper)


def warm_up(sys_path: list[str], preload: list[str]) -> None:
    """Import packages and touch what the first step of a training would touch, with one thread."""
    import importlib

    sys.path[:] = sys_path
    for name in preload:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
        model = torch.nn.Linear(8, 8)
        optimizer = torch.optim.AdamW(model.parameters())
        model(torch.zeros(4, 8)).sum().backward()
        optimizer.step()
    for name in GUEST:
        importlib.import_module(name)
    _forget_finalizers()
    gc.collect()
    gc.freeze()
    gc.disable()
    _use_huge_pages()


def _forget_finalizers() -> None:
    """Spare jobs the tear-down of what was imported for them: it takes PyTorch 25 ms."""
    import weakref

    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False


def _use_huge_pages() -> None:
    """Put the heap into huge pages: a fork copies one entry for each instead of 512.

    It takes a fork of a Python with PyTorch from 6 ms to 1 ms. Where the kernel cannot, forks are
    slower and that is all.
    """
    with open("/proc/self/maps", encoding="ascii", errors="replace") as file:
        lines = [line.split() for line in file]
    for fields in lines:
        if fields[1] != "rw-p" or (len(fields) > _MAP_FIELDS and fields[-1] != "[heap]"):
            continue
        low, high = (int(each, 16) for each in fields[0].split("-"))
        start, end = -(-low // _HUGE_BYTES) * _HUGE_BYTES, high // _HUGE_BYTES * _HUGE_BYTES
        if end > start:
            with contextlib.suppress(OSError):
                libc.collapse(start, end - start)


def _serve(keeper: socket.socket) -> NoReturn:
    """Fork a jail that stands by whenever the host asks for one; ends when the keeper is gone."""
    while True:
        message, descriptors = receive(keeper)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            keeper.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
            stand_by(descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


if __name__ == "__main__":
    main()
