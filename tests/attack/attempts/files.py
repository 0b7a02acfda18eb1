"""Attempts to read or write what is not the job's, and to fill the disk."""

from bcai.bridge.sandbox.jail import Cause

from .attempt import Attempt, Contained, Control, Kind, Refused, Stopped

_GONE = Refused(("ENOENT", "EACCES"))
_CLOSED = Refused(("EROFS", "EACCES"))
_NO = Refused(("EPERM",))
_MOUNTS = "mount namespace; Landlock"
_FULL = Stopped((Cause.DISK_BYTES,))
_DISK = {"disk_bytes": 16 << 20}
_NO_FILES = {"C": Refused(("EACCES",))}  # at level C no file can be written at all


def _read(
    name: str, code: str, *, control: Control = Control.OUTSIDE, is_quick: bool = False
) -> Attempt:
    return Attempt(Kind.FILES, name, code, _GONE, _MOUNTS, control, is_quick=is_quick)


def _write(
    name: str, code: str, *, control: Control = Control.OUTSIDE, is_quick: bool = False
) -> Attempt:
    wall = "read-only mounts; Landlock"
    return Attempt(Kind.FILES, name, code, _CLOSED, wall, control, is_quick=is_quick)


def _call(name: str, code: str, *, control: Control = Control.OUTSIDE) -> Attempt:
    return Attempt(Kind.FILES, name, code, _NO, "seccomp", control)


READING = (
    _read("read a file of another job", "open(TARGET['secret']).read()", is_quick=True),
    _read("list the folder of another job", "os.listdir(os.path.dirname(TARGET['secret']))"),
    _read("climb out with ..", "open('../' * 40 + TARGET['secret']).read()"),
    _read(
        "climb out with .. from the work folder's descriptor",
        "here = os.open('.', os.O_RDONLY)\n"
        "os.close(os.open('../' * 40 + TARGET['secret'], os.O_RDONLY, dir_fd=here))",
    ),
    _read(
        "follow a symbolic link out",
        "os.symlink(TARGET['secret'], 'link')\nopen('link').read()",
        is_quick=True,
    ),
    _read("make a hard link to a file outside", "os.link(TARGET['secret'], 'hard')"),
    _read("go through its process's root", "open('/proc/self/root' + TARGET['secret']).read()"),
    _read(
        "go through the root of its parent",
        "open(f'/proc/{os.getppid()}/root' + TARGET['secret']).read()",
    ),
    _read(
        "go through the working folder of its parent",
        "open(f'/proc/{os.getppid()}/cwd/' + '../' * 40 + TARGET['secret']).read()",
    ),
    Attempt(
        Kind.FILES,
        "use a folder that was left open by mistake",
        "for number in range(3, 1024):\n"
        "    try:\n"
        "        os.open('secret.txt', os.O_RDONLY, dir_fd=number)\n"
        "        break\n"
        "    except OSError:\n"
        "        continue\n"
        "else:\n"
        "    raise FileNotFoundError(errno.ENOENT, 'no such descriptor')",
        _GONE,
        "descriptors closed one by one",
        is_quick=True,
    ),
    _read("read the machine's passwords", "open('/etc/shadow').read()", control=Control.AS_ROOT),
    Attempt(
        Kind.FILES,
        "list the machine's users",
        "assert 'root:' in open('/etc/passwd').read()",
        Refused(("AssertionError", "EACCES")),
        _MOUNTS,
    ),
    _read("look at the machine's devices", "os.listdir('/sys/devices')"),
    Attempt(
        Kind.FILES,
        "read a disk without its file system",
        "import stat\n"
        "places = [f'/dev/{name}' for name in os.listdir('/dev')]\n"
        "disks = [place for place in places if stat.S_ISBLK(os.lstat(place).st_mode)]\n"
        "open(disks[0], 'rb').read(1)",
        Refused(("IndexError", "EACCES")),
        _MOUNTS,
        Control.AS_ROOT,
    ),
    _call("open a file by its handle", "answered('open_by_handle_at', -1, 0, 0)",
          control=Control.AS_ROOT),
    _call("ask for the handle of a file", "answered('name_to_handle_at', -100, 0, 0, 0, 0)"),
    _call("watch all files", "answered('fanotify_init', 0xffffffff, 0)", control=Control.AS_ROOT),
    Attempt(
        Kind.FILES,
        "watch a folder with a call that nobody listed",
        "check(libc.inotify_init())",
        Refused(("ENOSYS",)),
        "seccomp",
    ),
)  # fmt: skip

WRITING = (
    _write("write its own script", "open(__file__, 'r+b')", is_quick=True),
    _write("add to the project", "open(os.path.dirname(os.path.realpath(__file__)) + '/x', 'w')"),
    _write("delete its own script", "os.unlink(os.path.realpath(__file__))"),
    Attempt(
        Kind.FILES,
        "write to the folder of another job",
        "open(os.path.dirname(TARGET['secret']) + '/x', 'w')",
        Refused(("ENOENT", "EACCES")),
        _MOUNTS,
    ),
    _write("write the Python environment", "open(os.__file__, 'r+b')", control=Control.AS_ROOT),
    _write(
        "leave code that the next Python starts (sitecustomize)",
        "import json\n"
        "place = os.path.dirname(os.path.dirname(json.__file__)) + '/bcai_attempt.pth'\n"
        "open(place, 'w').close()\nos.unlink(place)",
        control=Control.AS_ROOT,
    ),
    _write(
        "choose the program that the kernel starts after a crash",
        "open('/proc/sys/kernel/core_pattern', 'r+')",
        control=Control.AS_ROOT,
    ),
    _write("write its own memory through /proc", "open('/proc/self/mem', 'r+b')"),
    _write("be spared when memory is out", "open('/proc/self/oom_score_adj', 'r+')", is_quick=True),
    _call("make a device", "os.mknod('null', 0o020666, os.makedev(1, 3))", control=Control.AS_ROOT),
    _call("give a file away", "os.chown(TARGET['secret'], 12345, 12345)", control=Control.AS_ROOT),
    Attempt(
        Kind.FILES,
        "change a file's hidden flags",
        "import fcntl\nopen('mine', 'w').close()\n"
        "fcntl.ioctl(os.open('mine', os.O_RDONLY), 0x80086601, bytes(8))",
        Refused(("ENOTTY",)),
        "seccomp",
        at=_NO_FILES,
    ),
    Attempt(
        Kind.FILES,
        "mark a file to run as its owner (setuid)",
        "open('mine', 'w').close()\nos.chmod('mine', 0o4755)",
        Contained(),
        "no execution; nosuid mounts",
        Control.ITSELF,
        at=_NO_FILES,
    ),
)  # fmt: skip

FILLING = (
    Attempt(
        Kind.FILES,
        "fill the disk",
        "with open('x', 'wb') as file:\n    for _ in range(N): file.write(bytes(1 << 20))",
        _FULL,
        "tmpfs of fixed size",
        Control.SMALL,
        (1, 1 << 20),
        _DISK,
        at=_NO_FILES,
        is_quick=True,
    ),
    Attempt(
        Kind.FILES,
        "fill the disk with empty files",
        "for number in range(N): open(f'{number}', 'w').close()",
        Stopped((Cause.INODES,)),
        "tmpfs with a limit of files",
        Control.SMALL,
        (10, 10**9),
        _DISK,
        at=_NO_FILES,
    ),
    Attempt(
        Kind.FILES,
        "fill /dev/shm",
        "with open('/dev/shm/x', 'wb') as file:\n    for _ in range(N): file.write(bytes(1 << 20))",
        _FULL,
        "tmpfs of fixed size",
        Control.SMALL,
        (1, 1 << 20),
        _DISK,
        at=_NO_FILES,
    ),
    Attempt(
        Kind.FILES,
        "fill the disk with files that have no name any more",
        "files = []\n"
        "for number in range(N):\n"
        "    files.append(open('x', 'wb')); os.unlink('x'); files[-1].write(bytes(1 << 20))",
        _FULL,
        "tmpfs of fixed size",
        Control.SMALL,
        (2, 1000),
        _DISK,
        at=_NO_FILES,
    ),
    Attempt(
        Kind.FILES,
        "reserve space for a huge file",
        "with open('x', 'wb') as file: os.posix_fallocate(file.fileno(), 0, N)",
        Refused(("ENOSPC",)),
        "tmpfs of fixed size",
        Control.SMALL,
        (1 << 20, 1 << 40),
        _DISK,
        at=_NO_FILES,
    ),
    Attempt(
        Kind.FILES,
        "make a sparse file of a terabyte",
        "with open('x', 'wb') as file: file.truncate(1 << 40)",
        Contained(),
        "it takes no space; what is written to it counts",
        Control.ITSELF,
        at=_NO_FILES,
    ),
    Attempt(
        Kind.FILES,
        "hand a sparse file of a terabyte over as a result",
        "import bcai\nfrom pathlib import Path\n"
        "with open('x', 'wb') as file: file.truncate(N)\n"
        "bcai.output('x', Path('x'))",
        Stopped((Cause.OUTPUT_BYTES, Cause.EXCEPTION, Cause.MEMORY)),
        "limit of outputs",
        Control.SMALL,
        (1 << 20, 1 << 40),
        at=_NO_FILES,
    ),
    Attempt(
        Kind.FILES,
        "write behind the disk limit, into a file in memory",
        "os.memfd_create('x')",
        _NO,
        "seccomp",
        is_quick=True,
    ),
    Attempt(
        Kind.FILES,
        "write behind the disk limit, into System V memory",
        "check(libc.shmget(0, 4096, 0o1600))",
        _NO,
        "seccomp",
    ),
    Attempt(
        Kind.FILES,
        "write behind the disk limit, into a message queue",
        "answered('mq_open', 0, 0x42, 0o600, 0)",
        _NO,
        "seccomp",
    ),
    Attempt(
        Kind.FILES,
        "write behind the disk limit, into the results' file",
        "import fcntl\nos.ftruncate(4, os.fstat(4).st_size + N * (1 << 40))",
        Refused(("EPERM",)),
        "sealed memory file",
        Control.SMALL,
        (0, 1),
    ),
)

FILES = (*READING, *WRITING, *FILLING)
