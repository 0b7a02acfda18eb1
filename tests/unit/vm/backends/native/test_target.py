"""The target for a processor follows from its features; what is unknown gets none."""

import pytest

from bcai.vm.backends.native.objects import this_machine
from bcai.vm.backends.native.target import (
    AVX2,
    AVX512,
    NEON,
    SSE,
    TARGETS,
    Target,
    host_target,
)
from bcai.vm.isa.types import DType

OLD = ("cx16", "popcnt", "sse3", "ssse3", "sse4.1", "sse4.2")
MIDDLE = (*OLD, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
NEW = (*MIDDLE, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")


@pytest.mark.parametrize(
    ("features", "target"), [(NEW, AVX512), (MIDDLE, AVX2), (OLD, SSE), ((), None)]
)
def test_x86_goes_by_features(features: tuple[str, ...], target: Target | None) -> None:
    for machine in ("x86_64", "AMD64"):
        assert host_target(dict.fromkeys(features, True), machine) is target


@pytest.mark.parametrize("missing", NEW)
def test_one_feature_missing_is_a_lesser_target(missing: str) -> None:
    found = host_target({each: each != missing for each in NEW}, "x86_64")
    assert found is (None if missing in OLD else SSE if missing in MIDDLE else AVX2)


def test_arm_needs_no_feature() -> None:
    assert host_target({}, "aarch64") is host_target({}, "arm64") is NEON


def test_an_unknown_processor_has_none() -> None:
    assert host_target(dict.fromkeys(NEW, True), "riscv64") is None


def test_lanes_fill_a_register() -> None:
    found = [each.lanes(DType.float32) for each in (AVX512, AVX2, SSE, NEON)]
    assert found == [16, 8, 4, 4]
    assert AVX512.lanes(DType.float64) == 8


def test_names_are_keys() -> None:
    assert [each.name for each in TARGETS.values()] == list(TARGETS)


def test_this_machine_has_a_known_target() -> None:
    assert this_machine() in (*TARGETS.values(), None)
