"""Tries, from inside a finished jail, a few things that each wall must refuse.

A wall that is up but lets things through is worse than none: the probe believes only this.
"""

import errno
import mmap
import os
import socket
import sys
import threading
from collections.abc import Callable

from bcai.bridge.sandbox import mounts
from bcai.bridge.sandbox.stage import Places
from bcai.bridge.sandbox.status import Status


def test_walls(status: Status, *, programs: bool) -> None:
    """Report each wall that holds; the first that does not ends the process.

    Parameters
    ----------
    programs
        Programs may be started: then this must work.
    """
    _test_network(status)
    if programs:
        with status.step("programs start"):
            _start_program()
        with status.step("executable work folder"):
            _map_executable(f"{mounts.WORK}/test")
    else:
        _test_no_programs(status)
    with status.step("host not writable"):
        folder = os.path.dirname(os.__file__)
        for place in ("/", folder):
            _must_fail(lambda place=place: os.mkdir(f"{place}/bcai-test"), _CLOSED)
    with status.step("private work folder"):
        os.mkdir(f"{mounts.WORK}/test")
        os.rmdir(f"{mounts.WORK}/test")
    with status.step("host processes hidden"):
        if any(name.isdigit() and int(name) > os.getpid() for name in os.listdir("/proc")):
            raise OSError("/proc shows processes of others")
    with status.step("no capabilities"):
        _must_fail(lambda: os.setuid(0), {errno.EPERM})


def test_lone_walls(status: Status, places: Places) -> None:
    """Report each wall of level C that holds; the first that does not ends the process."""
    _test_network(status)
    with status.step("no local sockets"):
        _must_fail(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), {errno.EACCES})
    with status.step("no child processes"):
        _must_fail(_fork, {errno.EPERM})
    _test_no_programs(status)
    with status.step("threads start"):
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
    with status.step("own files readable"):
        for folder in (*places.readable, os.path.dirname(os.__file__)):
            os.listdir(folder)
        _read(os.__file__)
        _read("/proc/self/status")
    with status.step("other files hidden"):
        for path in (places.other, "/etc/passwd"):
            _must_fail(lambda path=path: _read(path), _CLOSED)
        for folder in ("/", "/tmp", os.path.dirname(places.other)):
            _must_fail(lambda folder=folder: os.listdir(folder), _CLOSED)
    with status.step("nothing writable"):
        for folder in ("/", "/tmp", "/dev/shm", places.work, os.path.dirname(os.__file__)):
            _must_fail(lambda folder=folder: os.mkdir(f"{folder}/bcai-test"), _CLOSED)
        _must_fail(lambda: os.chmod(places.work, 0o500), {errno.EPERM})
    with status.step("other processes hidden"):
        _must_fail(lambda: os.listdir("/proc"), _CLOSED)
        _must_fail(lambda: _read(f"/proc/{os.getppid()}/status"), _CLOSED)
    with status.step("other processes out of reach"):
        _must_fail(lambda: os.kill(os.getppid(), 0), {errno.EPERM})
    with status.step("no capabilities"):
        _must_fail(lambda: os.setuid(0), {errno.EPERM})


def _test_network(status: Status) -> None:
    with status.step("no network"):
        _must_fail(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM), {errno.EACCES})


def _test_no_programs(status: Status) -> None:
    with status.step("no other programs"):
        _must_fail(lambda: os.execv("/proc/self/exe", ["x"]), {errno.EPERM})  # noqa: S606 - it must fail


def _start_program() -> None:
    """Start this very Python again, as a program of its own."""
    command = [sys.executable, "-I", "-S", "-c", "pass"]
    child = os.posix_spawn(sys.executable, command, os.environ)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended != 0:
        raise OSError(f"a program that should have started ended with {ended}")


def _map_executable(path: str) -> None:
    with open(path, "wb+") as file:
        file.write(bytes(mmap.PAGESIZE))
        file.flush()
        readable = mmap.PROT_READ | mmap.PROT_EXEC
        mmap.mmap(file.fileno(), mmap.PAGESIZE, mmap.MAP_PRIVATE, readable).close()
    os.unlink(path)


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}


def _must_fail(attempt: Callable[[], object], expected: set[int]) -> None:
    try:
        attempt()
    except OSError as error:
        if error.errno in expected:
            return
        raise
    raise OSError("the wall let it through")
