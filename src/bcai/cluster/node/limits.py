"""What a node's owner, and the machine, leave of the limits that a job asked for."""

from collections.abc import Callable

from bcai.base.units import GIB, MIB, format_duration_s, format_size
from bcai.bridge.sandbox.jail import JailLimits
from bcai.jobs.spec import Limits
from bcai.settings import EnhancedVmSettings

# A job's files and results lie in memory: whatever it asks for, it gets a part of this machine's.
DISK_SHARE = 4
OUTPUT_SHARE = 8  # twice that is reserved, for results that are replaced
LOG_BYTES_MAX = GIB  # the network keeps it in its database


def cap_limits(
    wanted: Limits, owner: EnhancedVmSettings, machine_bytes: int
) -> tuple[JailLimits, list[str]]:
    """Return the limits in force, and a warning for each that the owner or the machine lowered.

    Parameters
    ----------
    machine_bytes
        The memory of this machine.
    """
    warnings: list[str] = []

    def capped(
        noun: str, asked: float, most: float, form: Callable[[float], str], who: str
    ) -> float:
        if asked <= most:
            return asked
        warnings.append(f"{who} {form(most)} of {noun}, the job asked for {form(asked)}")
        return most

    def size(noun: str, asked: int, most: int, who: str = "the node has room for") -> int:
        return int(capped(noun, asked, most, format_size, who))

    allows = "the node's owner allows"
    wall_s_max = owner.python_constraints.max_execution_time_ms / 1000
    memory_bytes_max = (owner.max_memory_mb or 0) * MIB or wanted.memory_bytes
    limits = JailLimits(
        wall_s=capped("run time", wanted.wall_s, wall_s_max, format_duration_s, allows),
        # A job that asked for more than the machine has was refused: this one asked for nothing.
        memory_bytes=min(
            size("memory", wanted.memory_bytes, memory_bytes_max, allows), machine_bytes
        ),
        log_bytes=size("log", wanted.log_bytes, LOG_BYTES_MAX),
        output_bytes=size("outputs", wanted.output_bytes, machine_bytes // OUTPUT_SHARE),
        disk_bytes=size("files", wanted.disk_bytes, machine_bytes // DISK_SHARE),
        processes=wanted.processes,
    )
    return limits, warnings
