"""What jobs have of a node never adds up to more than it offers."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bcai.base.units import GIB
from bcai.bridge.sandbox.level import JailReport
from bcai.jobs.claim import asked_by, claim_on, in_words, room_of, shortage
from bcai.jobs.node import NOTHING, Capabilities, Claim, Gpu
from bcai.jobs.placement import misfit
from bcai.jobs.spec import Hardware, JobSpec, Limits

NODE = Capabilities(4, 8 * GIB, 4, "3.11.7", {}, JailReport("A"))


@st.composite
def nodes(draw: st.DrawFn) -> Capabilities:
    sizes = draw(st.lists(st.sampled_from([8 * GIB, 80 * GIB]), max_size=3))
    return replace(
        NODE,
        cpu_count=draw(st.integers(1, 8)),
        memory_bytes=draw(st.integers(1, 16)) * GIB,
        slots=draw(st.integers(1, 8)),
        gpus=tuple(Gpu("G", size) for size in sizes),
        job_memory_bytes_max=draw(st.integers(0, 4)) * GIB,
    )


@st.composite
def specs(draw: st.DrawFn) -> JobSpec:
    memory_bytes = draw(st.sampled_from([GIB // 2, GIB, 3 * GIB, 6 * GIB]))
    hardware = Hardware(
        cpu_count=draw(st.integers(1, 4)),
        gpu_count=draw(st.integers(0, 2)),
        gpu_memory_bytes=draw(st.sampled_from([0, 16 * GIB])),
        memory_bytes=draw(st.sampled_from([0, memory_bytes])),
    )
    return JobSpec("job", code="1", limits=Limits(memory_bytes=memory_bytes), hardware=hardware)


@given(nodes(), specs(), st.booleans())
def test_whatever_fits_a_node_has_room_while_it_is_empty(
    node: Capabilities, spec: JobSpec, gpu_fallback: bool
) -> None:
    if misfit(spec, node, gpu_fallback=gpu_fallback) is None:
        assert not shortage(spec, node, Claim())


@given(nodes(), st.lists(specs(), max_size=12))
def test_jobs_that_have_room_never_have_more_than_there_is(
    node: Capabilities, wanted: list[JobSpec]
) -> None:
    taken, inside = NOTHING, list[JobSpec]()
    for spec in wanted:
        if misfit(spec, node, gpu_fallback=False) is None and not shortage(spec, node, taken):
            taken += claim_on(asked_by(spec), node)
            inside.append(spec)
    left = room_of(node) - taken
    assert min(left.memory_bytes, left.cores, left.gpus, left.slots) >= 0
    large = sum(each.hardware.gpu_count for each in inside if each.hardware.gpu_memory_bytes)
    assert large <= sum(gpu.memory_bytes >= 16 * GIB for gpu in node.gpus)


def test_a_job_that_names_no_memory_counts_as_the_limit_that_it_gets() -> None:
    spec = JobSpec("job", code="1")
    assert claim_on(asked_by(spec), NODE) == Claim(4 * GIB, 1, 0, 1)
    assert claim_on(asked_by(spec), replace(NODE, memory_bytes=GIB)).memory_bytes == GIB
    capped = replace(NODE, job_memory_bytes_max=2 * GIB)
    assert claim_on(asked_by(spec), capped).memory_bytes == 2 * GIB


def test_an_owner_who_gives_more_slots_than_cores_lets_jobs_share_them() -> None:
    node = replace(NODE, cpu_count=2, slots=6, memory_bytes=64 * GIB)
    wide = JobSpec("job", code="1", hardware=Hardware(cpu_count=2))
    taken = Claim()
    for _ in range(3):
        assert not shortage(wide, node, taken)
        taken += claim_on(asked_by(wide), node)
    assert shortage(wide, node, taken).asked.cores == 2


def test_a_gpu_that_another_job_has_may_be_the_large_one() -> None:
    node = replace(NODE, gpus=(Gpu("T4", 16 * GIB), Gpu("A100", 80 * GIB)))
    large = JobSpec("job", code="1", hardware=Hardware(gpu_count=1, gpu_memory_bytes=40 * GIB))
    small = JobSpec("job", code="1", hardware=Hardware(gpu_count=1))
    taken = claim_on(asked_by(small), node)
    assert shortage(large, node, taken).asked == Claim(gpus=1)
    assert not shortage(small, node, taken)


def test_what_is_short_is_told_in_words() -> None:
    spec = JobSpec("job", code="1", hardware=Hardware(cpu_count=2))
    short = shortage(spec, NODE, Claim(6 * GIB, 3, 0, 1))
    assert in_words(short.asked) == "4.0 GiB of memory and 2 cores"
    assert in_words(short.free) == "2.0 GiB of memory and 1 core"
    assert in_words(Claim(GIB, 1, 2, 1)) == "1.0 GiB of memory, 1 core and 2 GPUs"
    assert in_words(Claim(slots=1)) == "1 slot"
