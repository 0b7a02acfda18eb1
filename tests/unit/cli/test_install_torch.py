"""Which build of PyTorch a machine gets."""

import pytest

from bcai.cli.install_torch import CPU_INDEX, REQUIREMENT, Machine, decide, is_supported, main

LINUX = Machine("Linux", has_nvidia_gpu=False, installed=None)
LINUX_GPU = Machine("Linux", has_nvidia_gpu=True, installed=None)
MAC = Machine("Darwin", has_nvidia_gpu=False, installed=None)
FROM_DEFAULT_INDEX = (REQUIREMENT,)
FROM_CPU_INDEX = ("--index-url", CPU_INDEX, REQUIREMENT)


@pytest.mark.parametrize(
    ("wish", "machine", "offered", "expected"),
    [
        ("auto", LINUX, "2.13.0", FROM_CPU_INDEX),
        ("auto", LINUX, None, FROM_CPU_INDEX),
        ("auto", LINUX, "2.13.0+cpu", FROM_DEFAULT_INDEX),
        ("auto", LINUX_GPU, "2.13.0", FROM_DEFAULT_INDEX),
        ("auto", MAC, "2.13.0", FROM_DEFAULT_INDEX),
        ("cpu", LINUX_GPU, "2.13.0", FROM_CPU_INDEX),
        ("cpu", LINUX_GPU, "2.13.0+cpu", FROM_DEFAULT_INDEX),
        ("cuda", LINUX, "2.13.0", FROM_DEFAULT_INDEX),
        ("skip", LINUX, "2.13.0", None),
    ],
)
def test_build_follows_the_wish_the_gpu_and_the_index(
    wish: str, machine: Machine, offered: str | None, expected: tuple[str, ...] | None
) -> None:
    assert decide(wish, machine, offered).pip_arguments == expected


@pytest.mark.parametrize("installed", ["2.8.0", "2.13.0", "2.13.1+cpu", "2.10.0+cu128"])
@pytest.mark.parametrize("gpu", [False, True])
def test_auto_keeps_a_supported_build_that_is_there(installed: str, gpu: bool) -> None:
    assert decide("auto", Machine("Linux", gpu, installed), None).pip_arguments is None


def test_auto_replaces_an_unsupported_version() -> None:
    plan = decide("auto", Machine("Linux", has_nvidia_gpu=False, installed="2.7.1"), "2.13.0")
    assert plan.pip_arguments is not None
    assert plan.pip_arguments[-3:] == FROM_CPU_INDEX


def test_an_explicit_wish_replaces_the_other_build() -> None:
    with_cpu = Machine("Linux", has_nvidia_gpu=True, installed="2.13.0+cpu")
    plan = decide("cuda", with_cpu, None)
    assert plan.pip_arguments == ("--force-reinstall", REQUIREMENT)
    with_cuda = Machine("Linux", has_nvidia_gpu=True, installed="2.13.0")
    assert decide("cpu", with_cuda, None).pip_arguments is not None
    assert decide("cuda", with_cuda, None).pip_arguments is None


@pytest.mark.parametrize(
    ("version", "supported"),
    [("2.8.0", True), ("2.13.9+cpu", True), ("2.14.0", False), ("2.7.1", False), ("next", False)],
)
def test_supported_versions_are_those_of_the_requirement(version: str, supported: bool) -> None:
    assert is_supported(version) is supported


def test_the_requirement_is_the_extra_of_the_package(pytestconfig: pytest.Config) -> None:
    assert f'"{REQUIREMENT}"' in (pytestconfig.rootpath / "pyproject.toml").read_text("utf-8")


def test_an_unknown_wish_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpu"]) == 2
    assert "found 'gpu', expected one of auto, cpu, cuda, skip" in capsys.readouterr().err
