"""Landlock: the kernel's own access rules, which hold even if a mount were wrong.

The job may read below `/` (at level C below a few folders), write below its work folders (at C
nowhere), use a few devices, and nothing else: executing a file, unless it may start programs, TCP,
and signals or abstract sockets to processes outside are refused. Rules that the running kernel does
not know are left out; `abi` says which are in force.
Source: https://docs.kernel.org/userspace-api/landlock.html
"""

import os
import struct
from collections.abc import Sequence

from bcai.bridge.sandbox import libc

EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
REMOVE_DIR = 1 << 4
REMOVE_FILE = 1 << 5
MAKE_CHAR = 1 << 6
MAKE_DIR = 1 << 7
MAKE_REG = 1 << 8
MAKE_SOCK = 1 << 9
MAKE_FIFO = 1 << 10
MAKE_BLOCK = 1 << 11
MAKE_SYM = 1 << 12
REFER = 1 << 13
TRUNCATE = 1 << 14
IOCTL_DEV = 1 << 15

READ = READ_FILE | READ_DIR
WRITE = (
    READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO
    | MAKE_SYM | REFER | TRUNCATE
)  # fmt: skip
REWRITE = READ | WRITE_FILE | TRUNCATE
DEVICE = READ_FILE | WRITE_FILE | IOCTL_DEV

_FILE_ONLY = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_NET_TCP = 0b11  # bind and connect
_SCOPES = 0b11  # abstract Unix sockets and signals

_ABI_NET = 4
ABI_SCOPES = 6


def handled_access(abi: int) -> int:
    """Every access to files that a kernel of this ABI can refuse."""
    bits = {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)
    return (1 << bits) - 1


def ruleset_attributes(abi: int) -> bytes:
    """`struct landlock_ruleset_attr` of the length that this ABI knows."""
    attributes = struct.pack("=Q", handled_access(abi))
    if abi >= _ABI_NET:
        attributes += struct.pack("=Q", _NET_TCP)
    if abi >= ABI_SCOPES:
        attributes += struct.pack("=Q", _SCOPES)
    return attributes


def allowed_access(abi: int, access: int, *, is_folder: bool) -> int:
    """`access` without what this ABI does not know or what makes no sense on a file."""
    return access & handled_access(abi) & (~0 if is_folder else _FILE_ONLY)


def restrict(
    readable: list[str],
    writable: list[str],
    devices: list[str],
    *,
    executable: Sequence[str] = (),
    rewritable: Sequence[str] = (),
    abi_min: int = 1,
) -> int:
    """Put this process under the rules for good; return the ABI.

    Parameters
    ----------
    rewritable
        What is there already may be written to; nothing may be made or removed.

    Raises
    ------
    OSError
        The kernel has no Landlock, or an older one than `abi_min`, or a rule was refused.
    """
    abi = libc.landlock_abi()
    if abi < abi_min:
        offered = f"ABI {abi}" if abi else "none"
        raise OSError(f"Landlock: this kernel offers {offered}, needed is ABI {abi_min}")
    ruleset = libc.landlock_create_ruleset(ruleset_attributes(abi))
    try:
        for paths, access in (
            (readable, READ),
            (writable, WRITE),
            (devices, DEVICE),
            (executable, EXECUTE),
            (rewritable, REWRITE),
        ):
            for path in paths:
                _allow(ruleset, abi, path, access)
        libc.landlock_restrict_self(ruleset)
    finally:
        os.close(ruleset)
    return abi


def _allow(ruleset: int, abi: int, path: str, access: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        allowed = allowed_access(abi, access, is_folder=os.path.isdir(path))
        libc.landlock_add_path(ruleset, struct.pack("=Qi", allowed, place))
    finally:
        os.close(place)
