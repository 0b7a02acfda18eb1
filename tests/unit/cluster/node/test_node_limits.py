from bcai.base.units import GIB, MIB
from bcai.cluster.node.limits import cap_limits
from bcai.jobs.spec import Limits
from bcai.settings import EnhancedVmSettings, PythonConstraints


def test_without_caps_a_job_gets_what_it_asked_for() -> None:
    limits, warnings = cap_limits(Limits(wall_s=60, memory_bytes=GIB), EnhancedVmSettings())
    assert (limits.wall_s, limits.memory_bytes) == (60, GIB)
    assert warnings == []


def test_the_owner_lowers_limits_and_says_so() -> None:
    owner = EnhancedVmSettings(
        max_memory_mb=512, python_constraints=PythonConstraints(max_execution_time_ms=300_000)
    )
    limits, warnings = cap_limits(Limits(wall_s=3600, memory_bytes=4 * GIB), owner)
    assert (limits.wall_s, limits.memory_bytes) == (300, 512 * MIB)
    assert "5m 0s" in warnings[0]
    assert "1h 0m" in warnings[0]
    assert "512.0 MiB" in warnings[1]


def test_a_job_may_ask_for_less_than_the_owner_allows() -> None:
    limits, warnings = cap_limits(
        Limits(wall_s=1, memory_bytes=MIB), EnhancedVmSettings(max_memory_mb=512)
    )
    assert (limits.wall_s, limits.memory_bytes, warnings) == (1, MIB, [])
