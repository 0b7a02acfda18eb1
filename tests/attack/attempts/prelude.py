"""What stands before the code of every attempt, inside and outside of the jail."""

import ctypes
import errno
import json
import mmap
import os
import platform
import sys
from collections.abc import Callable

from bcai.bridge.sandbox.syscalls import numbers

TARGET = json.loads(sys.argv[1])  # what there is to reach outside
N = int(sys.argv[2])  # how much of it

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.prctl(15, TARGET["mark"].encode())  # the name of this process and of all that it starts
NUMBER = numbers(platform.machine())


def check(result: int) -> int:
    """Raise what a C function left in errno."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def call(name: str, *arguments: int) -> int:
    """Make a system call."""
    return check(libc.syscall(ctypes.c_long(NUMBER[name]), *map(ctypes.c_long, arguments)))


def answered(name: str, *arguments: int) -> None:
    """Make a call with arguments that mean nothing: a kernel that lets it in complains of those."""
    try:
        call(name, *arguments)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
            raise


def in_child(act: Callable[[], object]) -> None:
    """Do it in a process of its own, and fail as that fails."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            act()
            status = 0
        except OSError as error:
            status = error.errno or 1
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(status, os.strerror(status)) if status > 0 else RuntimeError(str(status))


def native(code: bytes) -> int:
    """Run machine code."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(ctypes.c_long)(address)()


def refused(error: BaseException) -> None:
    """Say how an attempt failed."""
    number = getattr(error, "errno", None)
    name = errno.errorcode.get(number, "") if number else ""
    sys.stdout.write(f"REFUSED {name or type(error).__name__}: {error}\n")
    sys.stdout.flush()
