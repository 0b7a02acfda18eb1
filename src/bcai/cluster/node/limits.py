"""What a node's owner, and the machine, leave of the limits that a job asked for."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from bcai.base.units import GIB, MIB, format_duration_s, format_size
from bcai.bridge.sandbox.jail import JailLimits
from bcai.jobs.node import Gpu
from bcai.jobs.spec import Hardware, Limits
from bcai.settings import EnhancedVmSettings

# A job's files and results lie in memory: whatever it asks for, it gets a part of this machine's.
DISK_SHARE = 4
OUTPUT_SHARE = 8  # twice that is reserved, for results that are replaced
LOG_BYTES_MAX = GIB  # the network keeps it in its database
_USUAL = Limits()


def cap_limits(
    wanted: Limits, owner: EnhancedVmSettings, machine_bytes: int
) -> tuple[JailLimits, list[str]]:
    """Return the limits in force, and a warning for each that the owner or the machine lowered.

    A limit at its default is one that nobody asked for: whoever meets it is told its number.

    Parameters
    ----------
    machine_bytes
        The memory of this machine.
    """
    warnings: list[str] = []

    def capped(noun: str, limit: str, most: float, form: Callable[[float], str], who: str) -> float:
        asked: float = getattr(wanted, limit)
        if asked <= most:
            return asked
        if asked != getattr(_USUAL, limit):
            warnings.append(f"{who} {form(most)} of {noun}, the job asked for {form(asked)}")
        return most

    def size(noun: str, limit: str, most: int, who: str = "the node has room for") -> int:
        return int(capped(noun, limit, most, format_size, who))

    allows = "the node's owner allows"
    python = owner.python_constraints
    wall_s_max = python.max_execution_time_ms / 1000
    cpu_s_max = None if python.max_cpu_time_ms is None else python.max_cpu_time_ms / 1000
    file_bytes_max = None if python.max_file_mb is None else python.max_file_mb * MIB
    memory_bytes_max = (owner.max_memory_mb or 0) * MIB or wanted.memory_bytes
    limits = JailLimits(
        wall_s=capped("run time", "wall_s", wall_s_max, format_duration_s, allows),
        # A job that asked for more than the machine has was refused: this one asked for nothing.
        memory_bytes=min(size("memory", "memory_bytes", memory_bytes_max, allows), machine_bytes),
        log_bytes=size("log", "log_bytes", LOG_BYTES_MAX),
        output_bytes=size("outputs", "output_bytes", machine_bytes // OUTPUT_SHARE),
        disk_bytes=size("files", "disk_bytes", machine_bytes // DISK_SHARE),
        processes=wanted.processes,
        cpu_s=_least(wanted.cpu_s, cpu_s_max),
        file_bytes=_least(wanted.file_bytes, file_bytes_max),
        inodes=int(capped("files and folders", "inodes", python.max_inodes, str, allows)),
    )
    # Whoever asked for no limit of these two asked for nothing: it is not lowered.
    if wanted.cpu_s is not None and cpu_s_max is not None:
        capped("processor time", "cpu_s", cpu_s_max, format_duration_s, allows)
    if wanted.file_bytes is not None and file_bytes_max is not None:
        size("one file", "file_bytes", file_bytes_max, allows)
    return limits, warnings


def gpu_warnings(wanted: Hardware, gpus: Sequence[Gpu], lent: int) -> list[str]:
    """Say that a node has GPUs, but not those that the job asked for and may run without."""
    if not wanted.gpu_count or not gpus or lent:
        return []
    asked = "1 GPU" if wanted.gpu_count == 1 else f"{wanted.gpu_count} GPUs"
    return [
        f"the job asked for {asked}; the node's {len(gpus)} are too few or too small, so it "
        "computes on the processor"
    ]


Number = TypeVar("Number", int, float)


def _least(wanted: Number | None, most: Number | None) -> Number | None:
    """The smaller of two limits, of which either may not be set."""
    if wanted is None or most is None:
        return most if wanted is None else wanted
    return min(wanted, most)
