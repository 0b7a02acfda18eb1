"""Attempts to get rights that a job lacks, and to use calls that no job needs."""

from functools import partial
from signal import SIGSYS

from .attempt import Attempt, Control, Killed, Kind, Outcome, Refused
from .calls import NO, call

_call = partial(call, Kind.RIGHTS)


def _root(name: str, code: str, outcome: Outcome = NO, *, machine: str = "") -> Attempt:
    return _call(name, code, outcome, Control.AS_ROOT, machine=machine)


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
    Attempt(
        Kind.RIGHTS,
        "raise a limit",
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (N, N))",
        Refused(("ValueError",)),
        "no capabilities",
        Control.SMALL,
        (50, 101),
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
