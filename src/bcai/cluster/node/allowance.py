"""Memory and processors that a node offers to jobs, of those that it may use itself."""

from bcai.base.allowance import core_count, memory_bytes
from bcai.base.units import GIB, MIB
from bcai.settings import NodeSettings

# The node itself, its warm Pythons and the machine's other programs, and the kernel's own.
RESERVED_PART = 8
RESERVED_BYTES_MAX = 4 * GIB


def offered_memory_bytes(node: NodeSettings) -> int:
    """Memory that all jobs of a node may have together."""
    if node.memory_mb is not None:
        return node.memory_mb * MIB
    whole = memory_bytes()
    return whole - min(whole // RESERVED_PART, RESERVED_BYTES_MAX)


def offered_cores(node: NodeSettings) -> int:
    """Processors that all jobs of a node share."""
    return node.cpu_count or core_count()
