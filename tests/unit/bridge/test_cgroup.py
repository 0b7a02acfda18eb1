from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("version", "files"),
    [
        (1, {"memory.oom_control": "under_oom 0\noom_kill 1\n", "memory.failcnt": "{met}\n"}),
        (2, {"memory.events": "max 7\noom {met}\noom_kill 1\noom_group_kill 0\n"}),
    ],
)
@pytest.mark.parametrize("met", [0, 3])
def test_a_job_that_the_machine_took_did_not_run_out_of_its_own_memory(
    version: int, files: dict[str, str], met: int, tmp_path: Path
) -> None:
    group = Cgroup(version, tmp_path, tmp_path)
    assert (group.was_out_of_memory(), group.was_taken()) == (False, False)
    for name, text in files.items():
        (tmp_path / name).write_text(text.format(met=met))
    assert (group.was_out_of_memory(), group.was_taken()) == (met > 0, met == 0)


def test_a_group_without_kills_ran_out_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("oom 2\noom_kill 0\n")
    group = Cgroup(2, tmp_path, tmp_path)
    assert (group.was_out_of_memory(), group.was_taken()) == (False, False)
