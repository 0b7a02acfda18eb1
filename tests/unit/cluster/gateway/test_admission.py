"""What may enter the queue."""

import dataclasses
from typing import Any

import pytest

from bcai.base.errors import InputError, NoJailError, RefusedError
from bcai.base.units import GIB
from bcai.bridge.sandbox.level import JailReport
from bcai.cluster.gateway.admission import NO_GPU, NO_LEDGER, judge
from bcai.jobs.node import Capabilities, Gpu, Node
from bcai.jobs.spec import Hardware, JobSpec
from bcai.jobs.verify import parse_verify

SMALL = Node(
    id="node_small",
    name="small",
    capabilities=Capabilities(2, 8 * GIB, 2, "3.11.7", {"torch": "2.13.0"}, JailReport("B")),
    seen_at=1.0,
    online=True,
)


def node(name: str, **capabilities: Any) -> Node:
    changed = dataclasses.replace(SMALL.capabilities, **capabilities)
    return dataclasses.replace(SMALL, id=f"node_{name}", name=name, capabilities=changed)


JOB = JobSpec(name="job", code="x")
GPU_JOB = dataclasses.replace(JOB, hardware=Hardware(gpu_count=1))


def test_one_fitting_node_is_enough() -> None:
    large = node("large", cpu_count=64)
    wide = dataclasses.replace(JOB, hardware=Hardware(cpu_count=32))
    assert judge(wide, [SMALL, large], gpu_fallback=False) == ()


def test_with_no_node_online_a_job_waits() -> None:
    assert judge(GPU_JOB, [], gpu_fallback=False) == ()


def test_a_refusal_names_what_is_missing_and_what_is_on_offer() -> None:
    spec = dataclasses.replace(JOB, requirements=("trch",))
    with pytest.raises(RefusedError) as refused:
        judge(spec, [SMALL, node("other")], gpu_fallback=False)
    assert "small: needs trch" in str(refused.value)
    assert "small has 2 CPU cores, 8.0 GiB of memory, no GPU, Python 3.11.7" in str(refused.value)
    assert refused.value.hint == "did you mean 'torch'?"


def test_a_refusal_says_no_hint_twice() -> None:
    spec = dataclasses.replace(JOB, requirements=("humanize>=99",))
    with pytest.raises(RefusedError) as refused:
        judge(
            spec, [SMALL, node("one", cpu_count=1, packages={"humanize": "4"})], gpu_fallback=False
        )
    clauses = refused.value.hint.split("; ")
    assert len(clauses) == 2
    assert len(set(clauses)) == 2
    assert "one has 1 CPU core, " in str(refused.value)


def test_a_refusal_of_many_nodes_stays_short() -> None:
    with pytest.raises(RefusedError, match="and 47 more"):
        judge(GPU_JOB, [node(f"n{number}") for number in range(50)], gpu_fallback=False)


def test_a_gpu_job_is_refused_or_runs_on_the_cpu_aloud() -> None:
    with pytest.raises(RefusedError, match="needs 1 GPU"):
        judge(GPU_JOB, [SMALL], gpu_fallback=False)
    assert judge(GPU_JOB, [SMALL], gpu_fallback=True) == (NO_GPU,)
    assert judge(GPU_JOB, [], gpu_fallback=True) == (NO_GPU,)
    with_gpu = node("gpu", gpus=(Gpu("T4", 16 * GIB),))
    assert judge(GPU_JOB, [SMALL, with_gpu], gpu_fallback=True) == ()


def test_without_a_jail_nothing_is_accepted() -> None:
    jail = JailReport("none", missing=("Landlock: needs Linux 5.13",))
    with pytest.raises(NoJailError) as refused:
        judge(JOB, [node("bare", jail=jail)], gpu_fallback=False)
    assert "Landlock: needs Linux 5.13" in refused.value.hint
    assert judge(JOB, [node("bare", jail=jail), SMALL], gpu_fallback=False) == ()


def test_a_job_of_many_nodes_waits_for_them_where_they_may_come() -> None:
    spec = dataclasses.replace(JOB, verify=parse_verify("replicated:3"))
    assert judge(spec, [SMALL], gpu_fallback=False) == ()
    assert judge(spec, [SMALL], gpu_fallback=False, nodes_max=3) == ()
    for online in ([SMALL], []):
        with pytest.raises(RefusedError, match="has 2 and never more") as refused:
            judge(spec, online, gpu_fallback=False, nodes_max=2)
        assert "bcai up --nodes 3" in refused.value.hint
    assert judge(JOB, [SMALL], gpu_fallback=False, nodes_max=1) == ()


def test_a_reward_is_warned_about() -> None:
    spec = dataclasses.replace(JOB, reward_tokens=5)
    assert judge(spec, [SMALL], gpu_fallback=False) == (NO_LEDGER,)


def test_a_bad_requirement_is_the_callers_fault_even_without_nodes() -> None:
    with pytest.raises(InputError):
        judge(dataclasses.replace(JOB, requirements=("!",)), [], gpu_fallback=False)
