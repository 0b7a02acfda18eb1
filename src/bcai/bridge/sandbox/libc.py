"""The few C calls that Python's `os` lacks, over ctypes. Each raises OSError with what it tried."""

import ctypes
import os

from bcai.bridge.sandbox.syscalls import machine

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_FDCWD = -100

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# Calls without a wrapper in every C library. Those above 400 have one number on all machines.
_OPEN_TREE = 428
_MOVE_MOUNT = 429
_MOUNT_SETATTR = 442
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446
_OLD = {
    "x86_64": {"pivot_root": 155, "capset": 126, "seccomp": 317},
    "aarch64": {"pivot_root": 41, "capset": 91, "seccomp": 277},
}

_CAPABILITY_VERSION_3 = 0x20080522
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_TSYNC = 1
_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MADV_COLLAPSE = 25


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _syscall(number: int, what: str, *arguments: object) -> int:
    return _check(_libc.syscall(ctypes.c_long(number), *arguments), what)


def _text(path: str | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` for new ones."""
    _check(_libc.unshare(ctypes.c_int(flags)), f"unshare({flags:#x})")


def prctl(option: int, argument: int = 0) -> int:
    """Change a property of this process."""
    zero = ctypes.c_ulong(0)
    result = _libc.prctl(ctypes.c_int(option), ctypes.c_ulong(argument), zero, zero, zero)
    return _check(result, f"prctl({option}, {argument})")


def set_host_name(name: str) -> None:
    """Name the machine, as this UTS namespace sees it."""
    text = name.encode()
    _check(_libc.sethostname(text, ctypes.c_size_t(len(text))), "sethostname")


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Mount a file system, or change the flags of one."""
    result = _libc.mount(
        _text(source), _text(target), _text(kind), ctypes.c_ulong(flags), _text(options)
    )
    _check(result, f"mount {kind or ''} on {target}")


def unmount(target: str) -> None:
    """Detach a mount, whoever still uses it."""
    _check(_libc.umount2(_text(target), MNT_DETACH), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root of this mount namespace and put the old root at `old`."""
    _syscall(_OLD[machine()]["pivot_root"], "pivot_root", _text(new), _text(old))


def open_tree(path: str) -> int:
    """Clone the mounts below `path` into a detached tree; return its descriptor."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | AT_RECURSIVE
    what = f"open_tree {path}"
    return _syscall(_OPEN_TREE, what, AT_FDCWD, _text(path), ctypes.c_uint(flags))


def mount_setattr(tree: int, attributes: int, user_namespace: int | None = None) -> None:
    """Set attributes on every mount of a detached tree, and optionally map its owners."""
    packed = attributes.to_bytes(8, "little") + bytes(16)
    packed += (user_namespace or 0).to_bytes(8, "little")
    flags = ctypes.c_uint(AT_EMPTY_PATH | AT_RECURSIVE)
    size = ctypes.c_size_t(len(packed))
    _syscall(_MOUNT_SETATTR, "mount_setattr", tree, b"", flags, packed, size)


def move_mount(tree: int, target: str) -> None:
    """Attach a detached tree at `target`."""
    flags = ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH)
    what = f"move_mount to {target}"
    _syscall(_MOVE_MOUNT, what, tree, b"", AT_FDCWD, _text(target), flags)


def drop_all_capabilities() -> None:
    """Empty the bounding, ambient, effective, permitted and inheritable sets."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:  # past the last one that this kernel knows, or no right to drop
            break
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = _CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4)
    _syscall(_OLD[machine()]["capset"], "capset", header, bytes(24))


def landlock_abi() -> int:
    """Version of Landlock that this kernel offers; 0 for none."""
    version_flag = ctypes.c_uint(1)
    number = ctypes.c_long(_LANDLOCK_CREATE_RULESET)
    return max(0, _libc.syscall(number, None, ctypes.c_size_t(0), version_flag))


def landlock_create_ruleset(attributes: bytes) -> int:
    """Make a ruleset; return its descriptor."""
    size = ctypes.c_size_t(len(attributes))
    what = "landlock_create_ruleset"
    return _syscall(_LANDLOCK_CREATE_RULESET, what, attributes, size, ctypes.c_uint(0))


def landlock_add_path(ruleset: int, rule: bytes) -> None:
    """Allow what `rule` (struct landlock_path_beneath_attr) says."""
    path_beneath = ctypes.c_int(1)
    what = "landlock_add_rule"
    _syscall(_LANDLOCK_ADD_RULE, what, ruleset, path_beneath, rule, ctypes.c_uint(0))


def landlock_restrict_self(ruleset: int) -> None:
    """Put this thread, and all it starts from now on, under the ruleset."""
    _syscall(_LANDLOCK_RESTRICT_SELF, "landlock_restrict_self", ruleset, ctypes.c_uint(0))


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def collapse(start: int, size: int) -> None:
    """Make huge pages of a stretch of this process's memory (MADV_COLLAPSE, Linux 6.1)."""
    what = f"madvise {size} bytes"
    address, length = ctypes.c_void_p(start), ctypes.c_size_t(size)
    _check(_libc.madvise(address, length, ctypes.c_int(_MADV_COLLAPSE)), what)


def seccomp_load(program: bytes) -> None:
    """Install a filter on every thread of this process. It can never be taken off again."""
    instructions = ctypes.create_string_buffer(program, len(program))
    argument = _Program(len(program) // 8, ctypes.addressof(instructions))
    number = _OLD[machine()]["seccomp"]
    flags = ctypes.c_uint(_SECCOMP_FILTER_FLAG_TSYNC)
    mode = ctypes.c_uint(_SECCOMP_SET_MODE_FILTER)
    result = _syscall(number, "seccomp", mode, flags, ctypes.byref(argument))
    if result > 0:
        raise OSError(f"seccomp: thread {result} could not take the filter")
