"""Attempts to start, stop, read or outlive processes, and to get rights that a job lacks."""

from signal import SIGSYS

from bcai.bridge.sandbox.jail import Cause

from .attempt import Attempt, Contained, Control, Killed, Kind, Outcome, Refused, Stopped

_NO = Refused(("EPERM",))
_OF_ANOTHER = Refused(("ESRCH", "EPERM"))
_BOMB = Stopped((Cause.PROCESSES,))
_SMALL_BOMB = (3, 10_000)
_ALONE = {"C": _NO}  # at level C a job is one process
_NO_FILES = {"C": Refused(("EACCES",))}  # and can write no file


def _call(
    name: str,
    code: str,
    outcome: Outcome = _NO,
    control: Control = Control.OUTSIDE,
    *,
    machine: str = "",
    is_quick: bool = False,
) -> Attempt:
    return Attempt(
        Kind.PROCESSES, name, code, outcome, "seccomp", control, machine=machine, is_quick=is_quick
    )


def _root(name: str, code: str, outcome: Outcome = _NO, *, machine: str = "") -> Attempt:
    return _call(name, code, outcome, Control.AS_ROOT, machine=machine)


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

RIGHTS = (
    _call("become the user that it is (setuid)", "os.setuid(os.getuid())"),
    _root("become root (setresuid)", "os.setresuid(0, 0, 0)"),
    _root("leave its groups", "os.setgroups([])"),
    _call("set capabilities", "answered('capset', 0, 0)"),
    _call("use the kernel's keys", "answered('keyctl', -1, 0, 0, 0, 0)"),
    _call("add a key", "answered('add_key', 0, 0, 0, 0, 0)"),
    _call("request a key", "answered('request_key', 0, 0, 0, 0)"),
    _root("mount", "answered('mount', 0, 0, 0, 0, 0)"),
    _root("unmount", "answered('umount2', 0, 0)"),
    _root("mount by file systems as descriptors", "answered('fsopen', 0, 0)"),
    _call("clone a tree of mounts", "answered('open_tree', -1, 0, 0)"),
    _root("move a mount", "answered('move_mount', -1, 0, -1, 0, 0)"),
    _root("change the attributes of a mount", "answered('mount_setattr', -1, 0, 0, 0, 0)"),
    _root("change its root", "answered('chroot', 0)"),
    _root("pivot its root", "answered('pivot_root', 0, 0)"),
    _call(
        "make a user namespace",
        "in_child(lambda: check(libc.unshare(0x10000000)))",
        is_quick=True,
    ),
    _root("make a mount namespace", "in_child(lambda: check(libc.unshare(0x00020000)))"),
    _call(
        "start a process in a user namespace (clone)",
        "child = call('clone', 0x10000000 | 17, 0, 0, 0, 0)\n"
        "if child == 0: os._exit(0)\n"
        "os.waitpid(child, 0)",
    ),
    _call(
        "start a process in a user namespace (clone3, whose flags no filter sees)",
        "flags = (0x10000000).to_bytes(8, 'little') + bytes(24) + (17).to_bytes(8, 'little')\n"
        "arguments = ctypes.create_string_buffer(flags + bytes(24), 64)\n"
        "child = call('clone3', ctypes.addressof(arguments), 64)\n"
        "if child == 0: os._exit(0)\n"
        "os.waitpid(child, 0)",
        Refused(("ENOSYS",)),
    ),
    _call("enter a namespace", "answered('setns', -1, 0)"),
    _call("load a program into the kernel (bpf)", "answered('bpf', -1, 0, 0)", is_quick=True),
    _call("measure the machine (perf)", "answered('perf_event_open', 0, 0, 0, 0, 0)"),
    _call("handle its own page faults (userfaultfd)", "answered('userfaultfd', -1)"),
    _call(
        "start another kernel (kexec)",
        "answered('kexec_load', 0, 99, 0, 0)",
        control=Control.ANSWERED,
    ),
    _root("load a kernel module", "answered('finit_module', -1, 0, 0)"),
    _root("unload a kernel module", "answered('delete_module', 0, 0)"),
    _root("restart the machine", "answered('reboot', 0, 0, 0, 0)"),
    _root("swap to a file", "answered('swapon', 0, 0)"),
    _root("set the clock", "answered('clock_settime', 0, 0)"),
    _root("rename the machine", "answered('sethostname', 0, 1)"),
    _root("read the kernel's log", "call('syslog', 10, 0, 0)"),
    _root("account for everybody's processes", "answered('acct', 1)"),
    _root("talk to devices by ports", "answered('iopl', 9)", machine="x86_64"),
    _call(
        "write descriptors of segments",
        "call('modify_ldt', 0, 0, 0)",
        control=Control.ANSWERED,
        machine="x86_64",
    ),
    _root(
        "raise a limit",
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (101, 101))",
        Refused(("ValueError",)),
    ),
    _root("run before everybody else", "os.sched_setscheduler(0, 1, os.sched_param(1))"),
    _root("be nicer to itself than others are", "os.setpriority(os.PRIO_PROCESS, 0, -5)"),
    _call("change its personality", "call('personality', 0xffffffff)"),
    _call("hide from the watchdog", "check(libc.prctl(4, 0))", is_quick=True),
    _call("adopt the processes that it left behind", "check(libc.prctl(36, 1))"),
    _call("loosen the filter by another", "answered('seccomp', 99, 0, 0)"),
    _call("loosen the rules by others", "call('landlock_create_ruleset', 0, 0, 1)"),
    _call(
        "use the calls of a 32-bit machine, which the filter does not number",
        "assert native(bytes.fromhex('b814000000cd80c3')) == os.getpid()",
        Killed(SIGSYS),
        machine="x86_64",
        is_quick=True,
    ),
    _call(
        "use the calls' second numbers (x32)",
        "check(libc.syscall(ctypes.c_long(0x40000000 | 39)))",
        Killed(SIGSYS),
        Control.ANSWERED,
        machine="x86_64",
    ),
)

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
        {"wall_s": 1.5},
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

PROCESSES = (*OTHERS, *RIGHTS, *PROGRAMS, *NUMBERS)
