import os
from pathlib import Path

import pytest

from bcai.base.allowance import core_count, memory_bytes
from bcai.base.units import MIB


def groups(folder: Path, own: str, **files: str) -> tuple[Path, Path]:
    """Control groups, and the list of those that a process is in."""
    for place, text in files.items():
        file = folder / "groups" / place.replace("__", "/").replace("_DOT_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "own").write_text(own)
    return folder / "groups", folder / "own"


def test_without_groups_it_is_the_machine(tmp_path: Path) -> None:
    nothing = (tmp_path / "none", tmp_path / "none")
    assert memory_bytes(*nothing) >= memory_bytes()
    assert core_count(*nothing) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("inner", ["max", "134217728"])
def test_the_smallest_cap_of_all_groups_around_counts(tmp_path: Path, inner: str) -> None:
    found = groups(
        tmp_path,
        "0::/slice/service\n",
        slice__service__memory_DOT_max=inner,
        slice__memory_DOT_max=str(256 * MIB),
        slice__service__cpu_DOT_max="max 100000",
        slice__cpu_DOT_max="150000 100000" if os.cpu_count() != 1 else "50000 100000",
    )
    assert memory_bytes(*found) == (256 * MIB if inner == "max" else 128 * MIB)
    assert core_count(*found) == min(2, len(os.sched_getaffinity(0)))


def test_version_1_has_a_folder_for_each_controller(tmp_path: Path) -> None:
    found = groups(
        tmp_path,
        "4:memory:/job\n2:cpu,cpuacct:/job\n0::/\n",
        memory__job__memory_DOT_limit_in_bytes=str(64 * MIB),
        memory__memory_DOT_limit_in_bytes="9223372036854771712",
        cpu__job__cpu_DOT_cfs_quota_us="20000",
        cpu__job__cpu_DOT_cfs_period_us="100000",
        cpu__cpu_DOT_cfs_quota_us="-1",
        cpu__cpu_DOT_cfs_period_us="100000",
    )
    assert memory_bytes(*found) == 64 * MIB
    assert core_count(*found) == 1


def test_a_path_that_leads_out_of_the_container_is_not_followed(tmp_path: Path) -> None:
    found = groups(tmp_path, "0::/../../other\n", memory_DOT_max=str(32 * MIB))
    assert memory_bytes(*found) == 32 * MIB
