"""Kernel limits per process. Hard and soft are equal: a job can lower them, never raise them."""

import math
import resource
from typing import Any

_OPEN_FILES = 1024
_LOCKED_BYTES = 64 << 20
_SIGNALS_QUEUED = 1024
_STACK_BYTES = 8 << 20

# Not 0: where crashes are piped to a program (systemd-coredump, apport), which Linux starts as root
# and outside of every jail, it heeds no limit but this one (man core; fs/coredump.c). No file is
# as short.
_CORE_BYTES = 1

# Addresses beyond the memory limit, for what is mapped but holds no memory of the job's own:
# libraries (torch maps about 0.7 GB of them), heaps that are only reserved, files.
ADDRESS_ROOM_BYTES = 2 << 30


# Beyond the limit that the watchdog keeps for all processes together: it is the one with words.
_CPU_ROOM_S = 1


def apply_plan(plan: dict[str, Any], tasks_of_others: int = 0) -> None:
    """Limit this process and all it starts as the plan of its jail says.

    Parameters
    ----------
    tasks_of_others
        Processes and threads that the kernel counts for this user but are not the job's.
    """
    apply(
        plan["memory_bytes"],
        plan["processes"] + tasks_of_others,
        plan.get("cpu_s"),
        plan.get("file_bytes"),
        bounds_addresses=not plan.get("gpu_devices"),
    )


def apply(
    memory_bytes: int,
    processes: int,
    cpu_s: float | None = None,
    file_bytes: int | None = None,
    *,
    bounds_addresses: bool = True,
) -> None:
    """Limit this process and all it starts; what it has inherited from a zygote is not its own.

    RLIMIT_DATA counts private writable memory, so that an honest job gets a MemoryError in the
    line that asked for too much. RLIMIT_AS also bounds shared maps. Both are per process, as is
    RLIMIT_CPU: the watchdog (and the cgroup) watches the sum. All files together are bounded by
    the size of the work folder.
    """
    size, data = _inherited_bytes()
    infinite = resource.RLIM_INFINITY
    addresses = memory_bytes + ADDRESS_ROOM_BYTES + size if bounds_addresses else infinite
    for kind, value in (
        (resource.RLIMIT_CORE, _CORE_BYTES),
        (resource.RLIMIT_DATA, memory_bytes + data),
        (resource.RLIMIT_AS, addresses),
        (resource.RLIMIT_STACK, _STACK_BYTES),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_MEMLOCK, _LOCKED_BYTES),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_SIGPENDING, _SIGNALS_QUEUED),
        (resource.RLIMIT_FSIZE, infinite if file_bytes is None else file_bytes),
        (resource.RLIMIT_CPU, infinite if cpu_s is None else math.ceil(cpu_s) + _CPU_ROOM_S),
    ):
        hard = resource.getrlimit(kind)[1]
        if infinite in (value, hard):
            wanted = hard if value == infinite else value
        else:
            wanted = min(value, hard)
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
