from bcai.base.units import GIB, MIB
from bcai.cluster.node.limits import LOG_BYTES_MAX, cap_limits, gpu_warnings
from bcai.jobs.node import Gpu
from bcai.jobs.spec import Hardware, Limits
from bcai.settings import EnhancedVmSettings, PythonConstraints

MACHINE = 8 * GIB


def test_without_caps_a_job_gets_what_it_asked_for() -> None:
    limits, warnings = cap_limits(
        Limits(wall_s=60, memory_bytes=GIB), EnhancedVmSettings(), MACHINE
    )
    assert (limits.wall_s, limits.memory_bytes) == (60, GIB)
    assert warnings == []


def test_the_owner_lowers_limits_and_says_so() -> None:
    owner = EnhancedVmSettings(
        max_memory_mb=512, python_constraints=PythonConstraints(max_execution_time_ms=300_000)
    )
    limits, warnings = cap_limits(Limits(wall_s=7200, memory_bytes=5 * GIB), owner, MACHINE)
    assert (limits.wall_s, limits.memory_bytes) == (300, 512 * MIB)
    assert "5m 0s" in warnings[0]
    assert "2h 0m" in warnings[0]
    assert "512.0 MiB" in warnings[1]


def test_a_job_may_ask_for_less_than_the_owner_allows() -> None:
    limits, warnings = cap_limits(
        Limits(wall_s=1, memory_bytes=MIB), EnhancedVmSettings(max_memory_mb=512), MACHINE
    )
    assert (limits.wall_s, limits.memory_bytes, warnings) == (1, MIB, [])


def test_what_lies_in_memory_is_bounded_by_the_machine() -> None:
    asked = Limits(disk_bytes=1 << 60, output_bytes=1 << 60, log_bytes=1 << 60)
    limits, warnings = cap_limits(asked, EnhancedVmSettings(), MACHINE)
    assert limits.disk_bytes + 2 * limits.output_bytes <= MACHINE / 2
    assert limits.log_bytes == LOG_BYTES_MAX
    assert [text for text in warnings if "1048576.0 TiB" in text] == warnings
    assert len(warnings) == 3


def test_memory_is_lowered_to_what_the_machine_has() -> None:
    limits, _ = cap_limits(Limits(), EnhancedVmSettings(), 2 * GIB)
    assert limits.memory_bytes == 2 * GIB


def test_what_nobody_asked_for_is_lowered_without_a_warning() -> None:
    python = PythonConstraints(max_execution_time_ms=300_000, max_inodes=100)
    owner = EnhancedVmSettings(max_memory_mb=512, python_constraints=python)
    limits, warnings = cap_limits(Limits(), owner, GIB)
    assert (limits.wall_s, limits.memory_bytes, limits.inodes) == (300, 512 * MIB, 100)
    assert (limits.disk_bytes, limits.output_bytes, warnings) == (256 * MIB, 128 * MIB, [])
    _, warnings = cap_limits(Limits(disk_bytes=2 * GIB), owner, GIB)
    assert warnings == ["the node has room for 256.0 MiB of files, the job asked for 2.0 GiB"]


def test_the_owner_caps_processor_time_files_and_their_number() -> None:
    python = PythonConstraints(max_cpu_time_ms=60_000, max_file_mb=8, max_inodes=100)
    owner = EnhancedVmSettings(python_constraints=python)
    asked = Limits(cpu_s=90, file_bytes=16 * MIB, inodes=101)
    limits, warnings = cap_limits(asked, owner, MACHINE)
    assert (limits.cpu_s, limits.file_bytes, limits.inodes) == (60, 8 * MIB, 100)
    assert [text.split(", the job asked for ")[1] for text in warnings] == [
        "101", "1m 30s", "16.0 MiB"
    ]  # fmt: skip
    limits, warnings = cap_limits(Limits(inodes=1), owner, MACHINE)
    assert (limits.cpu_s, limits.file_bytes, warnings) == (60, 8 * MIB, [])
    limits, warnings = cap_limits(Limits(cpu_s=1, file_bytes=1), EnhancedVmSettings(), MACHINE)
    assert (limits.cpu_s, limits.file_bytes, warnings) == (1, 1, [])


def test_gpus_that_are_not_enough_are_told() -> None:
    gpus = [Gpu("NVIDIA H200", 141 * GIB)]
    assert "the node's 1 are too few" in gpu_warnings(Hardware(gpu_count=2), gpus, 0)[0]
    assert gpu_warnings(Hardware(gpu_count=1), gpus, 1) == []
    assert gpu_warnings(Hardware(), gpus, 0) == []
    assert gpu_warnings(Hardware(gpu_count=1), [], 0) == []  # admission has said so
