"""User namespaces and the ids in them.

Note [Who is who]
Inside, a job is uid 1000 (`job`). Outside that is, for a launcher run by an ordinary user, that
user; for a launcher run by root, a uid that nobody else on the machine has: one from the range
that Linux distributions leave unused, plus the pid of the process that builds the jail and lives
as long, plus some bits of its pid namespace, since containers number their processes alike. So two
jobs of one machine never share a uid, and a job that got out would own nothing.

A container may have too few ids for that. There a job gets one of its ids that no process has and
that nobody else has claimed: two jails that start in one instant see the same processes, so each
first binds an abstract socket with the number of the id for a name. Only one can; the kernel takes
the name back when the last process of ours in that jail is gone, however it ended. Jobs cannot bind
such names: they have a network of their own, or no sockets at all. Where there is no id to spare, a
job is refused.
Source of the range: https://systemd.io/UIDS-GIDS/
"""

import errno
import os
import signal
import socket
from collections.abc import Callable

from bcai.bridge.sandbox import libc
from bcai.bridge.sandbox.status import Status

JOB_ID = 1000
HOST_NAME = "job"
_UNUSED_IDS_FIRST = 0x70000000
_PID_BITS = 22  # as many as a pid has at most
_NAMESPACE_BITS = 6  # what is left below 0x80000000
_FEW_IDS_FIRST, _FEW_IDS = 20_000, 40_000
_STRIDE = 7919  # prime, so that it meets every one of them; neighbours look in different places

ALL_BUT_USER = (
    libc.CLONE_NEWNS
    | libc.CLONE_NEWCGROUP
    | libc.CLONE_NEWUTS
    | libc.CLONE_NEWIPC
    | libc.CLONE_NEWPID
    | libc.CLONE_NEWNET
)


def own_id(status: Status) -> int | None:
    """The uid, and gid, of a job outside while this process lives; None: those of this user.

    Ends this process where there is none to be had.
    """
    if os.geteuid() != 0:
        return None
    maps: list[str] = []
    for kind in ("uid", "gid"):
        with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
            maps.append(file.read())
    try:
        return unused_id(os.getpid(), os.stat("/proc/self/ns/pid").st_ino, maps)
    except OSError as error:
        status.fail("unprivileged user", error)


_claims: list[socket.socket] = []  # open as long as this process, and those that it forks


def claim_id(number: int) -> bool:
    """Take an id for this process and its jail, unless it is taken. See Note [Who is who].

    Raises
    ------
    OSError
        It cannot be found out.
    """
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0bcai-job-id-{number}")
    except OSError as error:
        claim.close()
        if error.errno == errno.EADDRINUSE:
            return False
        raise
    if number in ids_in_use():  # of a process that is none of ours
        claim.close()
        return False
    _claims.append(claim)
    return True


def unused_id(
    pid: int, namespace: int, maps: list[str], claim: Callable[[int], bool] = claim_id
) -> int:
    """Choose an id that nobody else on this machine has while process `pid` lives.

    Parameters
    ----------
    namespace
        Number of its pid namespace.
    maps
        The `uid_map` and `gid_map` of its user namespace.
    claim
        Takes an id and says whether it could; asked where `pid` alone does not make it unique.

    Raises
    ------
    OSError
        There is none to spare.
    """
    slot = namespace % (1 << _NAMESPACE_BITS)
    wanted = _UNUSED_IDS_FIRST + (slot << _PID_BITS) + pid % (1 << _PID_BITS)
    if all(is_mapped(wanted, ids) for ids in maps):
        return wanted
    first = (pid + namespace) % _FEW_IDS
    for turn in range(_FEW_IDS):
        candidate = _FEW_IDS_FIRST + (first + turn * _STRIDE) % _FEW_IDS
        if all(is_mapped(candidate, ids) for ids in maps) and claim(candidate):
            return candidate
    last = _FEW_IDS_FIRST + _FEW_IDS - 1
    raise OSError(
        f"a job needs a user id of its own, and this user namespace has none to spare from "
        f"{_FEW_IDS_FIRST} to {last}"
    )


def ids_in_use() -> set[int]:
    """User ids of all processes that can be seen: real, effective, saved and of files."""
    found: set[int] = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/status", encoding="utf-8", errors="replace") as file:
                    rows = [line.split()[1:] for line in file if line.startswith("Uid:")]
            except OSError:  # gone
                continue
            found.update(int(each) for row in rows for each in row)
    return found


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
