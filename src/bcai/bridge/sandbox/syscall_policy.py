"""Which system calls a job may make. Measured: torch, DataLoader, NumPy and friends need about 90.

A job that may start programs (security level `standard`) gets `execve` as well; one with a GPU the
calls of its driver, see Note [GPUs in a jail] in `gpu.py`; one without namespaces (level C) gets
less, see Note [Alone].

Never: starting programs, networks other than Unix sockets inside the jail, memory that a file
limit does not see (memfd, System V), anything that looks into other processes, mounts, keys,
kernel modules, tracing, io_uring (it would bypass this very filter), namespaces.
"""

import errno
from functools import cache

from bcai.bridge.sandbox import libc, nvidia_ioctl
from bcai.bridge.sandbox.seccomp import ALLOW, Condition, Rule, assemble, refuse
from bcai.bridge.sandbox.syscalls import AUDIT_ARCH, numbers

_FILES = """
read readv write writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close close_range
dup dup2 dup3 fstat newfstatat stat lstat statx statfs fstatfs access faccessat faccessat2 open
openat openat2 creat readlink readlinkat getdents getdents64 mkdir mkdirat rmdir unlink unlinkat
rename renameat renameat2 link linkat symlink symlinkat chmod fchmod fchmodat fchmodat2 umask
truncate ftruncate fallocate fadvise64 fsync fdatasync sync_file_range flock utimensat utime utimes
getcwd chdir fchdir sendfile copy_file_range splice tee fcntl
listxattr llistxattr flistxattr getxattr lgetxattr fgetxattr
"""
_MEMORY = """
mmap mprotect munmap mremap madvise brk msync mincore mlock mlock2 munlock mbind get_mempolicy
set_mempolicy membarrier pkey_alloc pkey_free pkey_mprotect arch_prctl
"""
_PROCESSES = """
fork vfork exit exit_group gettid getpid getppid getpgrp getpgid getsid setpgid setsid
set_tid_address getuid geteuid getgid getegid getresuid getresgid getgroups capget kill tgkill
tkill wait4 waitid
pidfd_open pidfd_send_signal futex futex_waitv set_robust_list get_robust_list rseq restart_syscall
rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait sigaltstack
pause sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_getscheduler
sched_get_priority_max sched_get_priority_min getpriority getcpu getrusage getrlimit setrlimit
"""
_TIME_AND_EVENTS = """
clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times alarm setitimer
getitimer timer_create timer_settime timer_gettime timer_delete timer_getoverrun timerfd_create
timerfd_settime timerfd_gettime epoll_create1 epoll_create epoll_ctl epoll_wait epoll_pwait
epoll_pwait2 poll ppoll select pselect6 eventfd eventfd2 pipe pipe2 signalfd4
uname sysinfo getrandom
"""
_UNIX_SOCKETS = """
bind listen accept accept4 connect sendmsg recvmsg sendto recvfrom shutdown getsockname
getpeername getsockopt setsockopt
"""
ALLOWED = " ".join((_FILES, _MEMORY, _PROCESSES, _TIME_AND_EVENTS, _UNIX_SOCKETS)).split()

# Refused aloud, so that the intent can be read here and the error is plain.
_REFUSED_TEXT = """
ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd process_madvise mount umount2 pivot_root
chroot move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr unshare setns bpf
perf_event_open userfaultfd keyctl add_key request_key kexec_load kexec_file_load init_module
finit_module delete_module reboot swapon swapoff io_uring_setup io_uring_enter io_uring_register
setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid capset acct quotactl
iopl ioperm modify_ldt settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname
syslog vhangup name_to_handle_at open_by_handle_at fanotify_init lookup_dcookie mknod mknodat chown
fchown lchown fchownat memfd_create memfd_secret shmget semget msgget mq_open execve execveat
setpriority ioprio_set sched_setattr sched_setscheduler migrate_pages move_pages personality seccomp
landlock_create_ruleset landlock_add_rule landlock_restrict_self vmsplice setxattr fsetxattr
lsetxattr removexattr
"""
REFUSED = _REFUSED_TEXT.split()
_STARTS = ("execve", "execveat")
_FOR_CUDA = ("memfd_create",)

_AF_UNIX = 1
_CORE = 4  # RLIMIT_CORE
_NAMESPACES = (
    libc.CLONE_NEWNS | libc.CLONE_NEWCGROUP | libc.CLONE_NEWUTS | libc.CLONE_NEWIPC
    | libc.CLONE_NEWUSER | libc.CLONE_NEWPID | libc.CLONE_NEWNET
)  # fmt: skip
# Reading one's own state and naming threads. Not PR_SET_DUMPABLE: it would hide from the watchdog.
_PRCTL_ALLOWED = (2, 3, 15, 16, 21, 23, 39, 0x53564D41)
# TCGETS TIOCGPGRP TIOCGWINSZ FIONREAD FIONBIO FIONCLEX FIOCLEX: none changes a device.
_IOCTL_ALLOWED = (0x5401, 0x540F, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)


# Note [Alone]: at level C a job sees the machine's own processes and files, and Landlock guards
# neither the mode and times of a file, nor its extended attributes, nor the processor that another
# process runs on, nor sockets that have a path, nor locks and leases on files that can be read. So
# these calls are refused there (but for locks by fcntl, which databases read with), and so is
# starting a process: one can be measured, limited and killed for certain.
_NOT_ALONE = f"""
fork vfork chmod fchmod fchmodat fchmodat2 utimensat utime utimes flock setpgid pidfd_open
listxattr llistxattr flistxattr getxattr lgetxattr fgetxattr
{_UNIX_SOCKETS}
""".split()
_CLONE_THREAD = 0x00010000
_LEASE, _NOTIFY = 1024, 1026  # of fcntl


def _rules(*, alone: bool, gpu: bool) -> dict[str, Rule]:
    no = refuse(errno.EPERM)
    rules = _common_rules(no)
    if gpu:
        rules["ioctl"] = Rule(_ioctl_conditions(gpu=True), refuse(errno.ENOTTY))
    if alone:
        namespaces = Condition(0, _NAMESPACES, no, bits=True)
        rules["clone"] = Rule([namespaces, Condition(0, _CLONE_THREAD, ALLOW, bits=True)], no)
        rules["socket"] = rules["socketpair"] = Rule([], refuse(errno.EACCES))
        rules["fcntl"] = Rule([Condition(1, _LEASE, no), Condition(1, _NOTIFY, no)], ALLOW)
        rules["sched_setaffinity"] = Rule([Condition(0, 0, ALLOW)], no)
    return rules


def _common_rules(no: int) -> dict[str, Rule]:
    return {
        "clone": Rule([Condition(0, _NAMESPACES, no, bits=True)], ALLOW),
        # clone3 hides its flags in memory, which a filter cannot read: C libraries fall back.
        "clone3": Rule([], refuse(errno.ENOSYS)),
        "prctl": Rule([Condition(0, option, ALLOW) for option in _PRCTL_ALLOWED], no),
        # Pid 0 is the caller: a job must not change the limits of the process that watches it. A
        # lower limit of core files would start a program of the machine, see limits.py.
        "prlimit64": Rule([Condition(1, _CORE, no), Condition(0, 0, ALLOW)], no),
        "setrlimit": Rule([Condition(0, _CORE, no)], ALLOW),
        "socket": Rule([Condition(0, _AF_UNIX, ALLOW)], refuse(errno.EACCES)),
        "socketpair": Rule([Condition(0, _AF_UNIX, ALLOW)], refuse(errno.EACCES)),
        "ioctl": Rule(_ioctl_conditions(gpu=False), refuse(errno.ENOTTY)),
    }


def _ioctl_conditions(*, gpu: bool) -> list[Condition]:
    found = [Condition(1, code, ALLOW) for code in _IOCTL_ALLOWED]
    if gpu:
        mask = nvidia_ioctl.FRONT_END_MASK
        found += [Condition(1, code, ALLOW, mask=mask) for code in nvidia_ioctl.FRONT_END]
        found += [Condition(1, code, ALLOW) for code in nvidia_ioctl.UNIFIED_MEMORY]
    return found


@cache
def job_filter(
    machine_name: str, *, programs: bool = False, alone: bool = False, gpu: bool = False
) -> bytes:
    """Assemble the filter that a job runs under.

    Parameters
    ----------
    programs
        It may start programs.
    alone
        It has no namespaces of its own and may start no process; see Note [Alone].
    gpu
        It was given a GPU.

    Raises
    ------
    OSError
        There is no table of system calls for this machine.
    """
    if machine_name not in AUDIT_ARCH:
        known = ", ".join(sorted(AUDIT_ARCH))
        raise OSError(f"seccomp: no table of system calls for {machine_name}; there is {known}")
    number = numbers(machine_name)
    asked = {*(_STARTS if programs else ()), *(_FOR_CUDA if gpu else ())}
    allowed = {*ALLOWED, *asked} - {*(_NOT_ALONE if alone else ())}
    refused = {*REFUSED, *ALLOWED} - allowed
    rules = _rules(alone=alone, gpu=gpu)
    return assemble(
        AUDIT_ARCH[machine_name],
        {number[name]: rule for name, rule in rules.items() if name in number},
        [number[name] for name in allowed if name in number],
        [number[name] for name in refused if name in number],
    )
