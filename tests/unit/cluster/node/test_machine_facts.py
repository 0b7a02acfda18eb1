"""What of a machine decides bits: its model and its vector units, not what else a kernel lists."""

from pathlib import Path

import pytest

from bcai.cluster.node.machine_facts import measure_machine

AMD = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC 9354
stepping\t: 1
flags\t\t: fpu sse2 avx2 {more} avx512f fma

processor\t: 1
model name\t: another
"""
ARM = """processor\t: 0
Features\t: fp asimd sve
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""


def facts(tmp_path: Path, text: str) -> dict[str, str]:
    (tmp_path / "cpuinfo").write_text(text)
    return measure_machine(tmp_path / "cpuinfo")


def test_the_first_processors_model_and_units(tmp_path: Path) -> None:
    found = facts(tmp_path, AMD.format(more=""))
    assert found["cpu"] == "AMD EPYC 9354 (AuthenticAMD 25 17 1)"
    assert found["isa"].endswith(" avx2 avx512f fma sse2")
    assert facts(tmp_path, AMD.format(more="ibrs_enhanced md_clear")) == found
    assert facts(tmp_path, AMD.format(more="amx_tile")) != found


def test_arm_lists_features(tmp_path: Path) -> None:
    found = facts(tmp_path, ARM)
    assert (found["cpu"], found["isa"].split(" ", 1)[1]) == ("(0x41 0xd40)", "asimd fp sve")


@pytest.mark.parametrize("text", ["", "no colon here\n"])
def test_a_machine_that_lists_nothing_still_has_facts(tmp_path: Path, text: str) -> None:
    assert set(facts(tmp_path, text)) == {"bcai", "cpu", "isa", "libc", "system", "threads"}
    assert measure_machine(tmp_path / "none") == facts(tmp_path, text)
