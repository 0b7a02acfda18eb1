"""Attempts to see, start, stop, read or outlive processes."""

from functools import partial

from bcai.bridge.sandbox.jail import Cause

from .attempt import Attempt, Contained, Control, Kind, Refused, Stopped
from .calls import NO, call

_OF_ANOTHER = Refused(("ESRCH", "EPERM"))
_BOMB = Stopped((Cause.PROCESSES,))
_SMALL_BOMB = (3, 10_000)
_ALONE = {"C": NO}  # at level C a job is one process
_NO_FILES = {"C": Refused(("EACCES",))}  # and can write no file

_call = partial(call, Kind.PROCESSES)


OTHERS = (
    Attempt(
        Kind.PROCESSES,
        "see a process of the machine",
        "assert os.path.exists(f'/proc/{TARGET[\"pid\"]}')",
        Refused(("AssertionError",)),
        "pid namespace",
        at={"C": Contained()},
        is_quick=True,
    ),
    Attempt(
        Kind.PROCESSES,
        "signal a process of the machine",
        "os.kill(TARGET['pid'], 0)",
        _OF_ANOTHER,
        "pid namespace; Landlock (scopes)",
        is_quick=True,
    ),
    Attempt(
        Kind.PROCESSES,
        "signal any process, one after the other",
        "for number in range(1, TARGET['pid'] + 1):\n"
        "    try:\n"
        "        if number != os.getpid():\n"
        "            os.kill(number, 0)\n"
        "            break\n"
        "    except ProcessLookupError:\n"
        "        pass\n"
        "    except PermissionError:\n"
        "        pass\n"
        "else:\n"
        "    raise PermissionError(errno.EPERM, 'all of them')",
        _OF_ANOTHER,
        "pid namespace; Landlock (scopes)",
    ),
    Attempt(
        Kind.PROCESSES,
        "take hold of a process of the machine (pidfd)",
        "os.pidfd_open(TARGET['pid'])",
        _OF_ANOTHER,
        "pid namespace; at C seccomp",
    ),
    _call("be traced, to trace", "in_child(lambda: call('ptrace', 0, 0, 0, 0))", is_quick=True),
    _call(
        "read the memory of another process",
        "answered('process_vm_readv', os.getpid(), 0, 0, 0, 0, 0)",
    ),
    _call(
        "write the memory of another process",
        "answered('process_vm_writev', os.getpid(), 0, 0, 0, 0, 0)",
    ),
    _call(
        "take a descriptor of another process",
        "answered('pidfd_getfd', os.pidfd_open(os.getpid()), 0, 0)",
    ),
    _call("compare processes in the kernel", "call('kcmp', os.getpid(), os.getpid(), 0, 0, 0)"),
    _call("advise another process's memory away", "answered('process_madvise', -1, 0, 0, 0, 0)"),
    _call(
        "change a limit of its parent",
        "import resource\n"
        "resource.prlimit(\n"
        "    os.getppid(), resource.RLIMIT_CPU, resource.getrlimit(resource.RLIMIT_CPU))",
    ),
    _call("move the memory of processes", "answered('migrate_pages', os.getpid(), 0, 0, 0)"),
)  # fmt: skip

PROGRAMS = (
    _call(
        "start a program",
        "import subprocess\nsubprocess.run(['/bin/true'], check=True)",
        is_quick=True,
    ),
    _call("start a program by a shell", "assert os.system('true') == 0",
          Refused(("AssertionError",))),
    _call("start a program by posix_spawn",
          "os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)"),
    _call(
        "start itself again",
        "in_child(lambda: os.execv('/proc/self/exe', ['python', '-c', '']))",
    ),
    _call(
        "start a program by its descriptor",
        "program = os.open(sys.executable, os.O_RDONLY)\n"
        "in_child(lambda: os.execve(program, ['python', '-c', ''], os.environ))",
    ),
    _call(
        "start a program that it wrote",
        "open('own', 'w').write('#!/proc/self/exe\\n')\nos.chmod('own', 0o755)\n"
        "in_child(lambda: os.execv('own', ['own']))",
        Refused(("EPERM", "EACCES")),
    ),
    _call(
        "start a program from a file in memory (memfd, fexecve)",
        "program = os.memfd_create('x')\n"
        "os.write(program, open(sys.executable, 'rb').read())\n"
        "in_child(lambda: os.execve(program, ['python', '-c', ''], os.environ))",
    ),
    Attempt(
        Kind.PROCESSES,
        "load a library that it brings (dlopen)",
        "import _ctypes, shutil\nshutil.copy(_ctypes.__file__, 'own.so')\nctypes.CDLL('./own.so')",
        Refused(("OSError",)),
        "mounts without execution",
        at=_NO_FILES,
        is_quick=True,
    ),
    Attempt(
        Kind.PROCESSES,
        "load a library from /dev/shm",
        "import _ctypes, shutil\n"
        "place = f'/dev/shm/bcai-{os.getpid()}.so'\n"
        "shutil.copy(_ctypes.__file__, place)\n"
        "try: ctypes.CDLL(place)\n"
        "finally: os.unlink(place)",
        Refused(("OSError",)),
        "mounts without execution",
        at=_NO_FILES,
    ),
    Attempt(
        Kind.PROCESSES,
        "load a library from the project",
        "ctypes.CDLL(os.path.dirname(os.path.realpath(__file__)) + '/brought.so')",
        Refused(("OSError",)),
        "mounts without execution",
        at={"C": Contained()},
    ),
    Attempt(
        Kind.PROCESSES,
        "run machine code of its own",
        "assert native(bytes.fromhex(\n"
        "    'b82a000000c3' if platform.machine() == 'x86_64' else '40058052c0035fd6')) == 42",
        Contained(),
        "all walls hold for machine code",
        Control.ITSELF,
    ),
)  # fmt: skip

NUMBERS = (
    Attempt(
        Kind.PROCESSES,
        "start processes without end",
        "import time\nfor _ in range(N):\n    if os.fork() == 0: time.sleep(100)",
        _BOMB,
        "RLIMIT_NPROC; cgroup",
        Control.SMALL,
        _SMALL_BOMB,
        at=_ALONE,
        is_quick=True,
    ),
    Attempt(
        Kind.PROCESSES,
        "start processes that start processes",
        "import time\nfor _ in range(N): os.fork()\nif os.getppid() != 1: time.sleep(5)",
        _BOMB,
        "RLIMIT_NPROC; cgroup",
        Control.SMALL,
        _SMALL_BOMB,
        at=_ALONE,
    ),
    Attempt(
        Kind.PROCESSES,
        "start threads without end",
        "import threading, time\n"
        "for _ in range(N): threading.Thread(target=time.sleep, args=(5,), daemon=True).start()",
        _BOMB,
        "RLIMIT_NPROC; cgroup",
        Control.SMALL,
        _SMALL_BOMB,
        is_quick=True,
    ),
    Attempt(
        Kind.PROCESSES,
        "start processes again and again, whatever is refused",
        "for _ in range(N):\n    try: os.fork()\n    except OSError: pass",
        Stopped((Cause.WALL_TIME,)),
        "RLIMIT_NPROC; cgroup; wall time",
        Control.SMALL,
        (3, 1 << 60),
        {"wall_s": 8.0},
    ),
    Attempt(
        Kind.PROCESSES,
        "leave a daemon behind",
        "import signal, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    for number in (1, 2, 15): signal.signal(number, signal.SIG_IGN)\n"
        "    if os.fork() == 0: time.sleep(300)\n"
        "    os._exit(0)\n"
        "os.wait()",
        Contained(),
        "pid namespace, which ends with the job",
        Control.ITSELF,
        at=_ALONE,
        is_quick=True,
    ),
    Attempt(
        Kind.PROCESSES,
        "open descriptors without end",
        "kept = [os.dup(0) for _ in range(N)]",
        Refused(("EMFILE",)),
        "RLIMIT_NOFILE",
        Control.SMALL,
        (10, 10_000),
    ),
)

PROCESSES = (*OTHERS, *PROGRAMS, *NUMBERS)
