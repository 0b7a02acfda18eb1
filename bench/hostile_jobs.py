"""Jobs that mean harm, each with the ends that it may come to. Used by jail_soak.py."""

from dataclasses import dataclass

from bcai.bridge.sandbox.jail import Cause


@dataclass(frozen=True)
class Hostile:
    """A script, how it may end, and when the host gives up on it."""

    code: str
    ends: frozenset[Cause]
    wall_s: float = 10.0
    is_cancelled: bool = False  # by its owner, after its first output


def _ends(*causes: Cause) -> frozenset[Cause]:
    return frozenset(causes)


_SHORT_S = 1.0
_KILLED = _ends(Cause.SIGNAL, Cause.MEMORY)

HOSTILE: dict[str, Hostile] = {
    "fork bomb": Hostile(
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        _ends(Cause.WALL_TIME, Cause.PROCESSES, Cause.MEMORY),
        _SHORT_S,
    ),
    "thread bomb": Hostile(
        "import threading as t, time\nwhile True: t.Thread(target=time.sleep, args=(9,)).start()",
        _ends(Cause.PROCESSES, Cause.MEMORY, Cause.WALL_TIME),
        _SHORT_S,
    ),
    "takes memory": Hostile(
        "x = []\nwhile True: x.append(bytearray(16 << 20))", _ends(Cause.MEMORY)
    ),
    "takes shared memory": Hostile(
        "import mmap\nx = []\nwhile True:\n"
        "    m = mmap.mmap(-1, 16 << 20)\n    m.write(bytes(16 << 20))\n    x.append(m)",
        _ends(Cause.MEMORY, Cause.EXCEPTION),
    ),
    "floods the log": Hostile("while True: print('x' * 1000)", _ends(Cause.LOG_BYTES)),
    "fills the disk": Hostile(
        "with open('/job/x', 'wb') as f:\n    while True: f.write(bytes(1 << 20))",
        _ends(Cause.DISK_BYTES),
    ),
    "takes every inode": Hostile(
        "import itertools\nfor n in itertools.count(): open(f'/job/{n}', 'w').close()",
        _ends(Cause.INODES, Cause.DISK_BYTES, Cause.WALL_TIME),
    ),
    "leaves a daemon": Hostile(
        "import os, signal, time\n"
        "for s in (signal.SIGTERM, signal.SIGHUP): signal.signal(s, signal.SIG_IGN)\n"
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(1000)\n"
        "    os._exit(0)\nos._exit(0)",
        _ends(Cause.EXITED),
    ),
    "kills everything": Hostile(
        "import os\nos.fork()\n"
        "for pid in (1, *range(3, 300), -1):\n"
        "    try:\n        os.kill(pid, 9)\n    except OSError:\n        pass\n"
        "os.kill(os.getpid(), 9)",
        _KILLED,
    ),
    "leaves early": Hostile("import os; os._exit(7)", _ends(Cause.EXITED)),
    "crashes": Hostile("import ctypes; ctypes.string_at(0)", _ends(Cause.SIGNAL)),
    "sleeps": Hostile("import time; time.sleep(1000)", _ends(Cause.WALL_TIME), 0.3),
    "spins, deaf": Hostile(
        "import signal\nfor s in range(1, 30):\n"
        "    try:\n        signal.signal(s, signal.SIG_IGN)\n    except OSError:\n        pass\n"
        "while True: pass",
        _ends(Cause.WALL_TIME),
        0.3,
    ),
    "is cancelled": Hostile(
        "import os, time\nos.fork()\nprint('x', flush=True)\ntime.sleep(1000)",
        _ends(Cause.CANCELLED),
        is_cancelled=True,
    ),
    "closes its channels": Hostile(
        "import os\nos.closerange(0, 1024)", _ends(Cause.EXITED, Cause.EXCEPTION)
    ),
    "writes garbage to its channels": Hostile(
        "import os\nfor n in range(1000):\n    for d in (3, 4):\n"
        "        try:\n            os.write(d, os.urandom(100))\n"
        "        except OSError:\n            pass",
        _ends(Cause.OUTPUT_INVALID, Cause.EXITED, Cause.EXCEPTION),
    ),
    "raises": Hostile("1 / 0", _ends(Cause.EXCEPTION)),
}
