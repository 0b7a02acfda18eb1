"""What the scheduler's rounds are tried on."""

from dataclasses import dataclass

from bcai.base.units import GIB
from bcai.bridge.sandbox.level import JailReport
from bcai.cluster.scheduler.main import one_round
from bcai.cluster.store.protocol import JobStore
from bcai.jobs.job import Job
from bcai.jobs.node import Capabilities
from bcai.jobs.spec import Hardware, JobSpec
from bcai.settings import Settings


@dataclass(slots=True)
class Clock:
    """A clock that moves a little with each look, so that jobs have an order, and else by hand."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        self.now += 1e-4
        return self.now


async def see_node(
    store: JobStore, name: str, *, slots: int = 1, held: list[tuple[str, str]] | None = None
) -> None:
    capabilities = Capabilities(
        cpu_count=2,
        memory_bytes=slots * 16 * GIB,
        slots=slots,
        python="3.11.7",
        packages={},
        jail=JailReport("B"),
    )
    await store.node_seen(
        f"node-{name}", name=name, capabilities=capabilities, held=held or [], lease_s=10.0
    )


async def submit(
    store: JobStore, name: str = "job", *, cpu_count: int = 1, max_retries: int = 3
) -> Job:
    hardware = Hardware(cpu_count=cpu_count)
    spec = JobSpec(name, code="1", hardware=hardware, max_retries=max_retries)
    job, _ = await store.submit("key_1", spec)
    return job


async def schedule(settings: Settings, store: JobStore, clock: Clock) -> None:
    await one_round(settings, store, now=clock.now, thorough=True)
