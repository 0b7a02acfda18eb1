"""A WebAssembly module goes to a node that has the engine, whatever its jail."""

import dataclasses
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bcai.base.units import GIB
from bcai.bridge.sandbox.level import JailReport
from bcai.jobs.node import Capabilities
from bcai.jobs.outcome import ReasonCode
from bcai.jobs.placement import WASM_ENGINE, misfit
from bcai.jobs.spec import FileRef, JobKind, JobSpec

NODE = Capabilities(
    cpu_count=4,
    memory_bytes=8 * GIB,
    slots=4,
    python="3.11.7",
    packages={"wasmtime": "50.0.1"},
    jail=JailReport("none"),
)
FILE = FileRef("module.wasm", "blake3:" + "0" * 64, 8)
JOB = JobSpec("double", entry="module.wasm", files=(FILE,), kind=JobKind.WASM)


def test_a_node_with_the_engine_runs_it_and_needs_no_jail() -> None:
    assert misfit(JOB, NODE, gpu_fallback=False) is None


@pytest.mark.parametrize(
    ("packages", "has"),
    [({}, "the node has none"), ({"wasmtime": "12.0.0"}, "the node has wasmtime 12.0.0")],
)
def test_a_node_without_it_says_what_to_install(packages: dict[str, str], has: str) -> None:
    reason = misfit(JOB, dataclasses.replace(NODE, packages=packages), gpu_fallback=False)
    assert reason is not None
    assert reason.code is ReasonCode.REQUIREMENTS
    assert has in reason.message
    assert "pip install 'bcai[wasm]'" in reason.hint


def test_the_range_is_that_of_the_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    (extra,) = project["project"]["optional-dependencies"]["wasm"]
    assert Requirement(extra) == WASM_ENGINE
    assert extra in project["dependency-groups"]["dev"]
