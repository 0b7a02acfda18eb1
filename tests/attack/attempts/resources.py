"""Attempts to use more memory or time than was granted."""

from collections.abc import Mapping

from bcai.bridge.sandbox.jail import Cause

from .attempt import Attempt, Contained, Control, Kind, Outcome, Refused, Stopped

_OVER = Stopped((Cause.MEMORY,))
_LIMIT = {"memory_bytes": 256 << 20}
_SUM = "watchdog; cgroup"
_OWN = "RLIMIT_DATA"
_ALONE = {"C": Refused(("EPERM",))}  # at level C a job is one process
_NO_SOCKETS = {"C": Refused(("EACCES",))}
_NO_FILES = _NO_SOCKETS


def _memory(
    name: str,
    code: str,
    wall: str,
    sizes: tuple[int, int],
    at: Mapping[str, Outcome] | None = None,
    *,
    is_quick: bool = False,
) -> Attempt:
    return Attempt(
        Kind.MEMORY, name, code, _OVER, wall, Control.SMALL, sizes, _LIMIT,
        at=at or {}, is_quick=is_quick,
    )  # fmt: skip


MEMORY = (
    _memory(
        "fill the heap bit by bit",
        "kept = []\nfor _ in range(N): kept.append(bytearray(1 << 20))",
        _OWN,
        (8, 1 << 20),
        is_quick=True,
    ),
    _memory("ask for a terabyte at once", "kept = bytearray(N)", _OWN, (1 << 20, 1 << 40)),
    _memory(
        "fill memory that malloc gave, unchecked",
        "libc.malloc.restype = ctypes.c_void_p\n"
        "for _ in range(N): ctypes.memset(libc.malloc(1 << 20), 1, 1 << 20)",
        _OWN,
        (8, 1 << 20),
    ),
    _memory(
        "fill shared maps, which no limit of a process counts",
        "kept = []\n"
        "for _ in range(N):\n"
        "    kept.append(mmap.mmap(-1, 1 << 20)); kept[-1].write(b'x' * (1 << 20))",
        _SUM,
        (8, 1 << 20),
        is_quick=True,
    ),
    _memory(
        "make a million tiny maps",
        "kept = []\n"
        "for number in range(N):\n"
        "    prot = mmap.PROT_READ | (mmap.PROT_WRITE if number % 2 else 0)\n"
        "    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS\n"
        "    kept.append(mmap.mmap(-1, mmap.PAGESIZE, private, prot))",
        "RLIMIT_AS; the kernel's count of maps",
        (10, 1_000_000),
    ),
    _memory(
        "reserve addresses without end",
        "kept = []\n"
        "for _ in range(N):\n"
        "    kept.append(mmap.mmap(-1, 1 << 28, mmap.MAP_PRIVATE | 0x4000, mmap.PROT_READ))",
        "RLIMIT_AS",
        (2, 1 << 20),
    ),
    _memory(
        "share the excess among its processes",
        "import time\n"
        "for _ in range(6):\n"
        "    if os.fork() == 0:\n"
        "        kept = bytearray(b'x') * N\n"
        "        time.sleep(100)\n"
        "time.sleep(100 if N > 1 << 20 else 0)",
        _SUM,
        (1 << 20, 100 << 20),
        _ALONE,
        is_quick=True,
    ),
    _memory(
        "hide the excess from the watchdog behind many children",
        "import time\n"
        "kept = mmap.mmap(-1, N)\n"
        "for _ in range(20):\n"
        "    if os.fork() == 0: time.sleep(100)\n"
        "kept.write(b'x' * N)\n"
        "time.sleep(100 if N > 1 << 20 else 0)",
        _SUM,
        (1 << 20, 300 << 20),
        _ALONE,
    ),
    Attempt(
        Kind.MEMORY,
        "write a map of a file beyond the disk's end",
        "with open('x', 'w+b') as file:\n"
        "    file.truncate(N)\n"
        "    kept = mmap.mmap(file.fileno(), N)\n"
        "    for start in range(0, N, 1 << 20): kept[start : start + (1 << 20)] = bytes(1 << 20)",
        Stopped((Cause.SIGNAL, Cause.MEMORY, Cause.DISK_BYTES)),
        "tmpfs of fixed size",
        Control.SMALL,
        (1 << 20, 128 << 20),
        {"disk_bytes": 16 << 20},
        at=_NO_FILES,
    ),
    _memory(
        "call itself without end",
        "import sys\n"
        "sys.setrecursionlimit(1 << 30)\n"
        "def deeper(left):\n"
        "    if left: deeper(left - 1)\n"
        "deeper(N)",
        _OWN,
        (10, 1 << 29),
    ),
    Attempt(
        Kind.MEMORY,
        "overflow the stack of the interpreter",
        "text = '(' * N + ')' * N\ncompile(text.replace('()', '0'), 'x', 'eval')\n"
        "import functools\nf = len\n"
        "for _ in range(N * 100): f = functools.partial(f)\n"
        "import pickle\npickle.dumps(f)",
        Stopped((Cause.MEMORY, Cause.SIGNAL, Cause.EXCEPTION)),
        "its own process",
        Control.SMALL,
        (1, 1 << 14),
    ),
    Attempt(
        Kind.MEMORY,
        "hold memory that must not be swapped",
        "kept = mmap.mmap(-1, N)\n"
        "start = ctypes.addressof(ctypes.c_char.from_buffer(kept))\n"
        "check(libc.mlock(ctypes.c_void_p(start), ctypes.c_size_t(N)))",
        Refused(("ENOMEM",)),
        "RLIMIT_MEMLOCK",
        Control.SMALL,
        (1 << 20, 128 << 20),
    ),
    Attempt(
        Kind.MEMORY,
        "hide memory even from the kernel (memfd_secret)",
        "answered('memfd_secret', 99)",
        Refused(("EPERM",)),
        "seccomp",
        Control.ANSWERED,
    ),
    Attempt(
        Kind.MEMORY,
        "keep data in the kernel's pipes, which no limit of a process counts",
        "total, kept = 0, []\n"
        "for _ in range(400):\n"
        "    reads, writes = os.pipe(); kept += [reads, writes]\n"
        "    os.set_blocking(writes, False)\n"
        "    try:\n"
        "        while True: total += os.write(writes, bytes(1 << 16))\n"
        "    except BlockingIOError: pass\n"
        "print(total)\nassert total < 100 << 20",
        Contained(),
        "RLIMIT_NOFILE, the kernel's limit of pipes (100 MB here); cgroup",
        Control.ITSELF,
    ),
    Attempt(
        Kind.MEMORY,
        "keep data in Unix sockets, which no limit of a process counts",
        "import socket\n"
        "total, kept = 0, []\n"
        "for _ in range(400):\n"
        "    pair = socket.socketpair(); kept.append(pair)\n"
        "    pair[0].setblocking(False)\n"
        "    try:\n"
        "        while True: total += pair[0].send(bytes(1 << 16))\n"
        "    except BlockingIOError: pass\n"
        "print(total)\nassert total < 200 << 20",
        Contained(),
        "RLIMIT_NOFILE, the kernel's limit of a socket (200 MB here); cgroup",
        Control.ITSELF,
        at=_NO_SOCKETS,
    ),
)

_LATE = Stopped((Cause.WALL_TIME,))


def _time(
    name: str,
    code: str,
    sizes: tuple[int, int],
    at: Mapping[str, Outcome] | None = None,
    *,
    is_quick: bool = False,
) -> Attempt:
    return Attempt(
        Kind.CPU, name, code, _LATE, "supervisor", Control.SMALL, sizes, {"wall_s": 1.5},
        at=at or {}, is_quick=is_quick,
    )  # fmt: skip


PROCESSOR = (
    _time("compute without end", "for _ in range(N): pass", (10, 1 << 60), is_quick=True),
    _time(
        "compute without end, deaf to signals",
        "import signal\n"
        "for number in range(1, 65):\n"
        "    try: signal.signal(number, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "for _ in range(N): pass",
        (10, 1 << 60),
        is_quick=True,
    ),
    _time("sleep", "import time\nfor _ in range(N): time.sleep(0.01)", (1, 1 << 60)),
    _time(
        "stop itself",
        "import signal\nif N: os.kill(os.getpid(), signal.SIGSTOP)",
        (0, 1),
    ),
    _time(
        "compute in C, where no Python signal handler runs",
        "import re\nre.match('(a+)+$', 'a' * N + 'b')",
        (5, 64),
    ),
    _time(
        "compute in many processes and threads",
        "import threading\n"
        "def work():\n"
        "    for _ in range(N): pass\n"
        "for _ in range(4):\n"
        "    if os.fork() == 0: break\n"
        "for _ in range(4): threading.Thread(target=work, daemon=True).start()\n"
        "work()",
        (10, 1 << 60),
        _ALONE,
    ),
    _time(
        "never end its exit handlers",
        "import atexit, time\nif N: atexit.register(time.sleep, N)",
        (0, 1000),
    ),
    _time(
        "wait for itself",
        "import threading\nlock = threading.Lock()\nlock.acquire()\nif N: lock.acquire()",
        (0, 1),
    ),
    Attempt(
        Kind.CPU,
        "measure time finely, to listen to others through caches",
        "import time\nassert time.get_clock_info('perf_counter').resolution < 1e-6\n"
        "time.perf_counter_ns()",
        Contained(),
        "nothing: keep secrets off machines that run jobs of strangers",
        Control.ITSELF,
    ),
)
