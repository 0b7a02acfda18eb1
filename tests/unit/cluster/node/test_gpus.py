"""No two jobs have one GPU, and none waits for ever."""

import anyio
import pytest

from bcai.base.units import GIB
from bcai.bridge.sandbox.gpu import GpuDevice
from bcai.cluster.node.gpus import GpuPool
from bcai.jobs.spec import Hardware

SMALL, LARGE, OTHER = (GpuDevice(minor, memory_bytes=memory) for minor, memory in
                       ((0, 24 * GIB), (1, 80 * GIB), (2, 80 * GIB)))  # fmt: skip


@pytest.mark.anyio
async def test_a_job_gets_gpus_that_are_large_enough_and_no_larger_than_needed() -> None:
    pool = GpuPool((LARGE, SMALL, OTHER))
    async with pool.lend(Hardware(gpu_count=1)) as one:
        assert one == (SMALL,)
        async with pool.lend(Hardware(gpu_count=2, gpu_memory_bytes=40 * GIB)) as two:
            assert two == (LARGE, OTHER)
    async with pool.lend(Hardware()) as none:
        assert none == ()


@pytest.mark.anyio
@pytest.mark.parametrize("wanted", [Hardware(gpu_count=4), Hardware(3, 2, 40 * GIB), Hardware()])
async def test_what_a_node_could_never_lend_is_not_waited_for(wanted: Hardware) -> None:
    async with GpuPool((SMALL, LARGE)).lend(wanted) as lent:
        assert lent == ()


@pytest.mark.anyio
async def test_a_gpu_goes_to_one_job_at_a_time_in_the_order_of_asking() -> None:
    pool, order = GpuPool((SMALL, LARGE)), list[str]()
    in_use: set[GpuDevice] = set()

    async def job(name: str, count: int, may_end: anyio.Event) -> None:
        async with pool.lend(Hardware(gpu_count=count)) as lent:
            assert not in_use & set(lent)
            in_use.update(lent)
            order.append(name)
            await may_end.wait()
            in_use.difference_update(lent)

    ends = {name: anyio.Event() for name in "abcd"}
    async with anyio.create_task_group() as group:
        for name, count in zip("abcd", (1, 2, 1, 1), strict=True):
            group.start_soon(job, name, count, ends[name])
            await anyio.wait_all_tasks_blocked()
        assert order == ["a"]  # b waits for both, and c does not overtake it
        for name in "abcd":
            ends[name].set()
            await anyio.wait_all_tasks_blocked()
    assert order == ["a", "b", "c", "d"]


@pytest.mark.anyio
async def test_a_job_that_is_cancelled_while_it_waits_or_works_leaves_no_gpu_behind() -> None:
    pool = GpuPool((SMALL,))

    async def hold() -> None:
        async with pool.lend(Hardware(gpu_count=1)):
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(hold)
        group.start_soon(hold)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    async with pool.lend(Hardware(gpu_count=1)) as lent:
        assert lent == (SMALL,)
