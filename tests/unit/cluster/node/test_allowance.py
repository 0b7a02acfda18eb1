from bcai.base.allowance import core_count, memory_bytes
from bcai.base.units import GIB
from bcai.cluster.node.allowance import (
    RESERVED_BYTES_MAX,
    offered_cores,
    offered_memory_bytes,
)
from bcai.settings import NodeSettings


def test_room_is_left_for_the_node_unless_its_owner_says_how_much_jobs_have() -> None:
    whole = memory_bytes()
    offered = offered_memory_bytes(NodeSettings())
    assert whole - offered == min(whole // 8, RESERVED_BYTES_MAX)
    assert offered_memory_bytes(NodeSettings(memory_mb=3072)) == 3 * GIB
    assert offered_cores(NodeSettings()) == core_count()
    assert offered_cores(NodeSettings(cpu_count=3)) == 3
