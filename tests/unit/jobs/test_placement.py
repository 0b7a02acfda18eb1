"""Which nodes can run which jobs, and what is said when none can."""

import dataclasses

import pytest

from bcai.base.errors import InputError
from bcai.base.units import GIB
from bcai.bridge.sandbox.level import JailReport
from bcai.jobs.node import Capabilities, Gpu
from bcai.jobs.outcome import ReasonCode
from bcai.jobs.placement import misfit
from bcai.jobs.requirements import parse_requirement
from bcai.jobs.spec import Hardware, JobSpec, Limits

NODE = Capabilities(
    cpu_count=4,
    memory_bytes=8 * GIB,
    slots=4,
    python="3.11.7",
    packages={"torch": "2.13.0+cpu", "scikit-learn": "1.7.0", "typing_extensions": "4.12.0"},
    jail=JailReport("B"),
)
GPU_NODE = dataclasses.replace(NODE, gpus=(Gpu("H200", 141 * GIB), Gpu("T4", 16 * GIB)))


def job(*requirements: str, hardware: Hardware | None = None) -> JobSpec:
    return JobSpec(
        name="job",
        code="x",
        requirements=requirements,
        hardware=hardware or Hardware(),
    )


@pytest.mark.parametrize(
    "requirement",
    [
        "torch",
        "Torch>=2.8,<2.14",
        "torch==2.13.0",
        "scikit_learn",
        "typing-extensions~=4.0",
        "absent; python_version < '3.8'",
        "absent; sys_platform == 'win32'",
    ],
)
def test_what_is_installed_fits(requirement: str) -> None:
    assert misfit(job(requirement), NODE, gpu_fallback=False) is None


@pytest.mark.parametrize(
    ("requirement", "message", "hint"),
    [
        ("torch>=3", "needs torch>=3; the node has torch 2.13.0+cpu", "includes 2.13.0"),
        ("trch", "needs trch", "did you mean 'torch'?"),
        ("sklearn", "needs sklearn", "did you mean 'scikit-learn'?"),
        ("quantum-chess", "needs quantum-chess", "node's owner"),
        ("absent; python_version >= '3.8'", "needs absent", "node's owner"),
    ],
)
def test_what_is_not_installed_is_named(requirement: str, message: str, hint: str) -> None:
    reason = misfit(job("torch", requirement), NODE, gpu_fallback=False)
    assert reason is not None
    assert reason.code is ReasonCode.REQUIREMENTS
    assert message in reason.message
    assert hint in reason.hint


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (job(hardware=Hardware(cpu_count=5)), "needs 5 CPU cores; the node has 4"),
        (
            job(hardware=Hardware(memory_bytes=9 * GIB)),
            "needs 9.0 GiB of memory; the node has 8.0 GiB",
        ),
        (job(hardware=Hardware(gpu_count=1)), "needs 1 GPU; the node has no GPU"),
    ],
)
def test_too_small_a_node_says_what_it_has(spec: JobSpec, words: str) -> None:
    reason = misfit(spec, NODE, gpu_fallback=False)
    assert reason is not None
    assert reason.code is ReasonCode.HARDWARE
    assert words in reason.message


def test_memory_that_nobody_asked_for_keeps_no_job_away() -> None:
    small = dataclasses.replace(NODE, memory_bytes=GIB)
    assert Limits().memory_bytes > small.memory_bytes
    assert misfit(job(), small, gpu_fallback=False) is None


def test_gpus_count_only_with_enough_memory() -> None:
    one = job(hardware=Hardware(gpu_count=1, gpu_memory_bytes=80 * GIB))
    two = job(hardware=Hardware(gpu_count=2, gpu_memory_bytes=80 * GIB))
    assert misfit(one, GPU_NODE, gpu_fallback=False) is None
    reason = misfit(two, GPU_NODE, gpu_fallback=False)
    assert reason is not None
    assert "2 GPUs with 80.0 GiB" in reason.message
    assert "H200 with 141.0 GiB" in reason.message


def test_a_network_that_falls_back_ignores_gpus_only() -> None:
    assert misfit(job(hardware=Hardware(gpu_count=8)), NODE, gpu_fallback=True) is None
    assert misfit(job(hardware=Hardware(64, gpu_count=8)), NODE, gpu_fallback=True) is not None


def test_a_node_without_a_jail_runs_nothing() -> None:
    jail = JailReport(
        "none", missing=("user namespaces: sysctl kernel.unprivileged_userns_clone=1",)
    )
    reason = misfit(job(), dataclasses.replace(NODE, jail=jail), gpu_fallback=True)
    assert reason is not None
    assert reason.code is ReasonCode.NO_JAIL
    assert "unprivileged_userns_clone" in reason.hint


@pytest.mark.parametrize("text", ["", "not a package!", "torch >= ", "torch @ https://e.org/x.whl"])
def test_a_requirement_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="requirement"):
        parse_requirement(text)
