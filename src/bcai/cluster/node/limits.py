"""What a node's owner leaves of the limits that a job asked for."""

from bcai.base.units import MIB, format_duration_s, format_size
from bcai.bridge.sandbox.jail import JailLimits
from bcai.jobs.spec import Limits
from bcai.settings import EnhancedVmSettings


def cap_limits(wanted: Limits, owner: EnhancedVmSettings) -> tuple[JailLimits, list[str]]:
    """Return the limits in force, and a warning for each that the owner lowered."""
    warnings: list[str] = []
    wall_s, memory_bytes = wanted.wall_s, wanted.memory_bytes
    wall_s_max = owner.python_constraints.max_execution_time_ms / 1000
    if wall_s > wall_s_max:
        warnings.append(
            f"the node's owner allows {format_duration_s(wall_s_max)} of run time, "
            f"the job asked for {format_duration_s(wall_s)}"
        )
        wall_s = wall_s_max
    memory_bytes_max = (owner.max_memory_mb or 0) * MIB
    if memory_bytes_max and memory_bytes > memory_bytes_max:
        warnings.append(
            f"the node's owner allows {format_size(memory_bytes_max)} of memory, "
            f"the job asked for {format_size(memory_bytes)}"
        )
        memory_bytes = memory_bytes_max
    limits = JailLimits(
        wall_s=wall_s,
        memory_bytes=memory_bytes,
        log_bytes=wanted.log_bytes,
        output_bytes=wanted.output_bytes,
        disk_bytes=wanted.disk_bytes,
        processes=wanted.processes,
    )
    return limits, warnings
