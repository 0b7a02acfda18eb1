"""Tries, from inside a finished jail, a few things that each wall must refuse.

A wall that is up but lets things through is worse than none: the probe believes only this.
"""

import errno
import os
import socket
from collections.abc import Callable

from bcai.bridge.sandbox import mounts
from bcai.bridge.sandbox.status import Status


def test_walls(status: Status) -> None:
    """Report each wall that holds; the first that does not ends the process."""
    with status.step("no network"):
        _must_fail(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM), {errno.EACCES})
    with status.step("no other programs"):
        _must_fail(lambda: os.execv("/proc/self/exe", ["x"]), {errno.EPERM})  # noqa: S606 - it must fail
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


_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}


def _must_fail(attempt: Callable[[], object], expected: set[int]) -> None:
    try:
        attempt()
    except OSError as error:
        if error.errno in expected:
            return
        raise
    raise OSError("the wall let it through")
