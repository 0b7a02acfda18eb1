from pathlib import Path

from bcai.bridge.sandbox.cgroup import Cgroup, GroupLimits


def test_a_job_gets_no_swap_beyond_its_memory(tmp_path: Path) -> None:
    for name in ("memory.memsw.limit_in_bytes", "memory.swap.max"):
        (tmp_path / name).touch()
    Cgroup(1, tmp_path, tmp_path).limit(GroupLimits(1000, 5))
    assert (tmp_path / "memory.memsw.limit_in_bytes").read_text() == "1000"
    Cgroup(2, tmp_path, tmp_path).limit(GroupLimits(1000, 5))
    assert (tmp_path / "memory.swap.max").read_text() == "0"


def test_a_kernel_that_does_not_count_swap_limits_memory_all_the_same(tmp_path: Path) -> None:
    Cgroup(2, tmp_path, tmp_path).limit(GroupLimits(1000, 5))
    assert (tmp_path / "memory.max").read_text() == "1000"
    assert not (tmp_path / "memory.swap.max").exists()
