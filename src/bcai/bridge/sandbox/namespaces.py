"""User namespaces and the ids in them.

Note [Who is who]
Inside, a job is uid 1000 (`job`). Outside that is, for a launcher run by an ordinary user, that
user; for a launcher run by root, a uid that nobody else on the machine has: one from the range
that Linux distributions leave unused, plus the pid of the jail's first process. So two jobs of
one machine never share a uid, and a job that got out would own nothing.
Source of the range: https://systemd.io/UIDS-GIDS/
"""

import os
import signal

from bcai.bridge.sandbox import libc

JOB_ID = 1000
HOST_NAME = "job"
_UNUSED_IDS_FIRST = 0x70000000
_FEW_IDS_FIRST, _FEW_IDS = 20_000, 40_000

ALL_BUT_USER = (
    libc.CLONE_NEWNS
    | libc.CLONE_NEWCGROUP
    | libc.CLONE_NEWUTS
    | libc.CLONE_NEWIPC
    | libc.CLONE_NEWPID
    | libc.CLONE_NEWNET
)


def unused_id() -> int:
    """Return a uid, and gid, that nobody else on this machine has while this process lives.

    A container may have few ids of its own: then one of these, which its users rarely reach.
    """
    wanted = _UNUSED_IDS_FIRST + os.getpid()
    with open("/proc/self/uid_map", encoding="ascii") as file:
        ids = file.read()
    return wanted if is_mapped(wanted, ids) else _FEW_IDS_FIRST + os.getpid() % _FEW_IDS


def is_mapped(number: int, ids: str) -> bool:
    """Whether an id exists in a user namespace with this `uid_map`."""
    ranges = [[int(field) for field in line.split()] for line in ids.splitlines()]
    return any(first <= number < first + count for first, _, count in ranges)


def enter_user_namespace(flags: int = 0) -> None:
    """Leave for a new user namespace (and those of `flags`) in which this user is `JOB_ID`."""
    uid, gid = os.getuid(), os.getgid()
    libc.prctl(libc.PR_SET_DUMPABLE, 1)  # else /proc/self belongs to root and the map is closed
    libc.unshare(libc.CLONE_NEWUSER | flags)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{JOB_ID} {uid} 1")
    _write("/proc/self/gid_map", f"{JOB_ID} {gid} 1")


def become(outside_id: int) -> None:
    """Give up root for good."""
    os.setgroups([])
    os.setresgid(outside_id, outside_id, outside_id)
    os.setresuid(outside_id, outside_id, outside_id)


def owner_map(owner_uid: int, owner_gid: int, outside_id: int) -> int:
    """Open a user namespace that shows files of `owner` as files of `outside_id`.

    It is used for mounts only: a project folder that only its owner may read (mode 0700) is
    then readable to the job, and nothing on the disk is changed. Needs root.
    """
    ready_read, ready_write = os.pipe()
    done_read, done_write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(done_write)
            libc.unshare(libc.CLONE_NEWUSER)
            os.write(ready_write, b"x")
            os.read(done_read, 1)
        finally:
            os._exit(0)
    try:
        os.close(ready_write)
        os.close(done_read)
        if not os.read(ready_read, 1):
            raise OSError("user namespace for a mount: refused")
        _write(f"/proc/{child}/uid_map", f"{owner_uid} {outside_id} 1")
        _write(f"/proc/{child}/gid_map", f"{owner_gid} {outside_id} 1")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready_read)
        os.close(done_write)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
