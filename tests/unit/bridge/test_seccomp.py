"""The filter is run by a small interpreter of its own, so that the tests judge what it decides."""

import errno
import struct

import pytest

from bcai.bridge.sandbox.seccomp import ALLOW, KILL, Condition, Rule, assemble, refuse
from bcai.bridge.sandbox.syscall_policy import ALLOWED, REFUSED, job_filter
from bcai.bridge.sandbox.syscalls import AUDIT_ARCH, numbers

MACHINES = sorted(AUDIT_ARCH)
EPERM, ENOSYS, EACCES = (refuse(n) for n in (errno.EPERM, errno.ENOSYS, errno.EACCES))


def decide(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """Run classic BPF as the kernel does, over one `struct seccomp_data`."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number, arch, 0, *padded)
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator = at = 0
    while True:
        opcode, if_true, if_false, constant = code[at]
        at += 1
        if opcode == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, constant)
        elif opcode == 0x54:
            accumulator &= constant
        elif opcode == 0x06:
            return constant
        else:
            holds = {
                0x15: accumulator == constant,
                0x25: accumulator > constant,
                0x35: accumulator >= constant,
                0x45: bool(accumulator & constant),
            }[opcode]
            at += if_true if holds else if_false


@pytest.mark.parametrize("machine", MACHINES)
def test_every_listed_call_is_decided_as_listed(machine: str) -> None:
    program, number, arch = job_filter(machine), numbers(machine), AUDIT_ARCH[machine]
    for name in ALLOWED:
        if name in number:
            assert decide(program, arch, number[name]) == ALLOW, name
    for name in REFUSED:
        if name in number:
            assert decide(program, arch, number[name]) == EPERM, name


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_nobody_listed_are_not_implemented(machine: str) -> None:
    program, number, arch = job_filter(machine), numbers(machine), AUDIT_ARCH[machine]
    listed = set(number.values())
    for candidate in (*range(600), 5000, 0x3FFFFFFF):
        if candidate not in listed:
            assert decide(program, arch, candidate) == ENOSYS, candidate


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_of_another_machine_kill(machine: str) -> None:
    program, number = job_filter(machine), numbers(machine)
    assert decide(program, 0x40000003, number["read"]) == KILL  # i386
    assert decide(program, AUDIT_ARCH[machine], 0x40000000 | number["read"]) == KILL  # x32


@pytest.mark.parametrize("machine", MACHINES)
def test_conditions_on_arguments(machine: str) -> None:
    program, number, arch = job_filter(machine), numbers(machine), AUDIT_ARCH[machine]

    def call(name: str, *arguments: int) -> int:
        return decide(program, arch, number[name], *arguments)

    assert call("socket", 1) == ALLOW  # AF_UNIX
    for family in (0, 2, 10, 16, 17, 38, 40):  # unspec, inet, inet6, netlink, packet, alg, vsock
        assert call("socket", family) == EACCES
    assert call("clone", 0x11) == ALLOW  # fork
    assert call("clone", 0x10000000 | 0x11) == EPERM  # CLONE_NEWUSER
    assert call("clone3") == ENOSYS
    assert call("prctl", 15) == ALLOW  # PR_SET_NAME
    assert call("prctl", 4) == EPERM  # PR_SET_DUMPABLE would hide from the watchdog
    assert call("prlimit64", 0) == ALLOW
    assert call("prlimit64", 1) == EPERM  # the process that watches the job
    assert call("ioctl", 0, 0x5401) == ALLOW  # TCGETS
    assert call("ioctl", 0, 0x5412) == refuse(errno.ENOTTY)  # TIOCSTI types into a terminal


def test_no_call_is_both_allowed_and_refused() -> None:
    assert not set(ALLOWED) & set(REFUSED)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_table_knows_every_listed_call_and_no_number_twice(machine: str) -> None:
    number = numbers(machine)
    assert len(set(number.values())) == len(number)
    assert set(ALLOWED) | set(REFUSED) <= set(numbers("x86_64"))
    assert {"read", "mmap", "futex", "clone", "execve"} <= set(number)


def test_the_first_condition_that_holds_decides() -> None:
    rule = Rule([Condition(0, 1, EACCES), Condition(1, 6, ENOSYS, bits=True)], ALLOW)
    program = assemble(7, {3: rule}, [4, 5, 6], [9])
    assert decide(program, 7, 3, 1, 4) == EACCES
    assert decide(program, 7, 3, 0, 4) == ENOSYS
    assert decide(program, 7, 3, 0, 1) == ALLOW
    assert [decide(program, 7, n) for n in (4, 6, 7, 9)] == [ALLOW, ALLOW, ENOSYS, EPERM]


def test_a_machine_without_a_table_is_refused() -> None:
    with pytest.raises(OSError, match="riscv64"):
        job_filter("riscv64")


@pytest.mark.parametrize("machine", MACHINES)
def test_programs_start_only_where_they_may(machine: str) -> None:
    number, arch = numbers(machine), AUDIT_ARCH[machine]
    usual, programs = job_filter(machine), job_filter(machine, programs=True)
    both = [name for name in (*ALLOWED, *REFUSED) if name in number]
    differing = {
        name
        for name in both
        if decide(usual, arch, number[name]) != decide(programs, arch, number[name])
    }
    assert differing == {"execve", "execveat"}


@pytest.mark.parametrize("machine", MACHINES)
def test_alone_means_threads_but_no_process_and_no_socket(machine: str) -> None:
    program, number, arch = job_filter(machine, alone=True), numbers(machine), AUDIT_ARCH[machine]

    def call(name: str, *arguments: int) -> int:
        return decide(program, arch, number[name], *arguments)

    thread = 0x10000 | 0x800 | 0x100
    assert call("clone", thread) == ALLOW
    assert call("clone", thread | 0x10000000) == EPERM  # CLONE_NEWUSER
    for flags in (0x11, 0x4111, 0x800 | 0x100):  # fork, vfork, shared memory
        assert call("clone", flags) == EPERM
    for family in range(50):
        assert call("socket", family) == call("socketpair", family) == EACCES
    for name in ("connect", "bind", "sendto", "fchmod", "utimensat", "flock", "execve", "getxattr"):
        assert call(name) == EPERM, name
    assert call("sched_setaffinity", 0) == ALLOW
    assert call("sched_setaffinity", 4711) == EPERM
    assert call("fcntl", 3, 1024) == EPERM  # F_SETLEASE
    assert call("fcntl", 3, 7) == ALLOW  # F_SETLKW, for results


@pytest.mark.parametrize("machine", MACHINES)
def test_alone_never_allows_what_is_refused_to_others(machine: str) -> None:
    number, arch = numbers(machine), AUDIT_ARCH[machine]
    usual, alone = job_filter(machine), job_filter(machine, alone=True)
    for name in number:
        if decide(alone, arch, number[name]) == ALLOW:
            assert decide(usual, arch, number[name]) == ALLOW, name


@pytest.mark.parametrize("machine", MACHINES)
def test_a_gpu_brings_the_calls_of_cuda_and_no_others(machine: str) -> None:
    number, arch = numbers(machine), AUDIT_ARCH[machine]
    usual, gpu = job_filter(machine), job_filter(machine, gpu=True)
    ours = [1 << 30 | size << 16 | ord("F") << 8 | 0x2A for size in (0, 32, 0x3FFF)]  # RM_CONTROL
    unified = [0x30000001, 25, 75]
    for command in (*ours, *unified):
        assert decide(gpu, arch, number["ioctl"], 5, command) == ALLOW, hex(command)
        assert decide(usual, arch, number["ioctl"], 5, command) == refuse(errno.ENOTTY)
    # A neighbour in number, another letter, an injected line of a terminal, a page table of a disk.
    for command in (0x4600 | 0x2C, 0x4700 | 0x2A, 0x5412, 0x80041272):
        assert decide(gpu, arch, number["ioctl"], 5, command) == refuse(errno.ENOTTY), hex(command)
    changed = {each for each in number if decide(usual, arch, number[each]) == EPERM}
    changed -= {each for each in number if decide(gpu, arch, number[each]) == EPERM}
    assert changed == {"memfd_create"}
