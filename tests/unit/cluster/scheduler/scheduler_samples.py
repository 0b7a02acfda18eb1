"""Nodes and jobs for the scheduler's tests."""

from bcai.base.units import GIB
from bcai.bridge.sandbox.level import JailReport
from bcai.jobs.job import Attempt, Job
from bcai.jobs.node import Capabilities, Claim, Gpu, Node
from bcai.jobs.spec import Hardware, JobSpec
from bcai.jobs.states import JobState

NOW = 1_700_000_000.0


def make_node(
    name: str,
    *,
    slots: int = 2,
    running: int = 0,
    online: bool = True,
    cpu_count: int = 2,
    memory_bytes: int = 16 * GIB,
    gpus: tuple[Gpu, ...] = (),
) -> Node:
    capabilities = Capabilities(
        cpu_count=cpu_count,
        memory_bytes=memory_bytes,
        slots=slots,
        python="3.11.7",
        packages={"torch": "2.8.0"},
        jail=JailReport("B"),
        gpus=gpus,
    )
    busy = tuple(f"job_of_{name}_{number}" for number in range(running))
    taken = Claim(running * GIB, running, 0, running)
    return Node(f"node-{name}", name, capabilities, NOW, online, busy, taken=taken)


def make_job(
    *, cpu_count: int = 1, requirements: tuple[str, ...] = (), tried: tuple[str, ...] = ()
) -> Job:
    spec = JobSpec(
        "job", code="1", hardware=Hardware(cpu_count=cpu_count), requirements=requirements
    )
    attempts = tuple(
        Attempt(number, f"node-{name}", name, NOW) for number, name in enumerate(tried, start=1)
    )
    return Job("job_1", "key_1", spec, JobState.QUEUED, NOW, NOW, "token", attempts)
