"""Kernel limits per process. Hard and soft are equal: a job can lower them, never raise them."""

import resource

_OPEN_FILES = 1024
_LOCKED_BYTES = 64 << 20
_SIGNALS_QUEUED = 1024
_STACK_BYTES = 8 << 20

# Addresses beyond the memory limit, for what is mapped but holds no memory of the job's own:
# libraries (torch maps about 0.7 GB of them), heaps that are only reserved, files.
ADDRESS_ROOM_BYTES = 2 << 30


def apply(memory_bytes: int, processes: int) -> None:
    """Limit this process and all it starts; what it has inherited from a zygote is not its own.

    RLIMIT_DATA counts private writable memory, so that an honest job gets a MemoryError in the
    line that asked for too much. RLIMIT_AS also bounds shared maps. Both are per process: the
    watchdog (and the cgroup) watches the sum. Files are bounded by the size of the work folder.
    """
    size, data = _inherited_bytes()
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_DATA, memory_bytes + data),
        (resource.RLIMIT_AS, memory_bytes + ADDRESS_ROOM_BYTES + size),
        (resource.RLIMIT_STACK, _STACK_BYTES),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_MEMLOCK, _LOCKED_BYTES),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_SIGPENDING, _SIGNALS_QUEUED),
    ):
        hard = resource.getrlimit(kind)[1]
        wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (wanted, wanted))


def _inherited_bytes() -> tuple[int, int]:
    """Addresses, and private writable memory among them, that this process has already."""
    with open("/proc/self/statm", "rb") as file:
        fields = file.read().split()
    page = resource.getpagesize()
    return int(fields[0]) * page, int(fields[5]) * page


def prefer_to_kill() -> None:
    """Let the kernel take this process before any other of the machine when memory is out."""
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")
