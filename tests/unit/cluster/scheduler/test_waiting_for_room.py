"""A large job is passed by small ones, but not for ever; nothing is given out twice.

Note [The line, simulated]
    `Floor` decides, round after round, over jobs that come at random and run for as long as they
    like within their time limits. A round is one second.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cluster.scheduler.scheduler_samples import NOW, make_job, make_node

from bcai.base.units import GIB
from bcai.cluster.scheduler.placement import PATIENCE_S, Floor
from bcai.jobs.claim import asked_by, claim_on, room_of
from bcai.jobs.job import Job
from bcai.jobs.node import Claim, Gpu, Node
from bcai.jobs.outcome import Reason, ReasonCode
from bcai.jobs.spec import Hardware, Limits

WALL_S = 60  # every job's time limit here


def asking(
    name: str, memory_gib: int, *, cpu_count: int = 1, gpu_count: int = 0, at: float = NOW
) -> Job:
    job = make_job()
    spec = replace(
        job.spec,
        limits=Limits(wall_s=WALL_S, memory_bytes=memory_gib * GIB),
        hardware=Hardware(cpu_count, gpu_count, memory_bytes=memory_gib * GIB),
    )
    return replace(job, id=name, spec=spec, created_at=at)


def reason(answer: Node | Reason) -> Reason:
    assert isinstance(answer, Reason)
    assert answer.code is ReasonCode.WAITING_CAPACITY
    return answer


@dataclass(slots=True)
class Line:
    """Jobs that wait, jobs that run, and when each was put on its node."""

    nodes: Sequence[Node]
    waiting: list[Job] = field(default_factory=list[Job])
    running: list[tuple[Job, Node, float]] = field(default_factory=list[tuple[Job, Node, float]])
    began: dict[str, float] = field(default_factory=dict[str, float])

    def round(self, now: float, runs_s: dict[str, int]) -> None:
        self.running = [each for each in self.running if each[2] > now]
        taken = {node.id: Claim() for node in self.nodes}
        for job, node, _ in self.running:
            taken[node.id] += claim_on(asked_by(job.spec), node.capabilities)
        seen = [replace(node, taken=taken[node.id]) for node in self.nodes]
        floor = Floor(seen, gpu_fallback=False, now=now)
        for job in list(self.waiting):
            answer = floor.choose(job)
            if isinstance(answer, Node):
                floor.take(job, answer)
                self.waiting.remove(job)
                self.running.append((job, answer, now + runs_s[job.id]))
                self.began[job.id] = now
                taken[answer.id] += claim_on(asked_by(job.spec), answer.capabilities)
                left = room_of(answer.capabilities) - taken[answer.id]
                assert min(left.memory_bytes, left.cores, left.gpus, left.slots) >= 0


sizes = st.tuples(st.integers(1, 8), st.integers(1, 4), st.integers(0, 1))
arrivals = st.lists(
    st.tuples(st.integers(0, 5), st.one_of(sizes, st.just((1, 1, 0))), st.integers(1, WALL_S)),
    min_size=1,
    max_size=60,
)
floors = st.lists(st.sampled_from([(8, 4), (8, 2), (4, 4)]), min_size=0, max_size=2)


@given(floors, arrivals)
def test_every_job_gets_its_turn_within_a_bound(
    more: list[tuple[int, int]], came: list[tuple[int, tuple[int, int, int], int]]
) -> None:
    sizes = [(8, 4), *more]  # every job fits the first one
    gpu = (Gpu("T4", 16 * GIB),)
    line = Line(
        [
            make_node(str(n), memory_bytes=gib * GIB, cpu_count=cores, slots=cores, gpus=gpu)
            for n, (gib, cores) in enumerate(sizes)
        ]
    )
    now, due, runs_s = NOW, list[tuple[float, Job]](), dict[str, int]()
    for number, (pause_s, (memory, cores, gpus), lasts_s) in enumerate(came):
        now += pause_s
        job = asking(f"job_{number:03}", memory, cpu_count=cores, gpu_count=gpus, at=now)
        runs_s[job.id] = lasts_s
        due.append((now, job))
    places = {job.id: place for place, (_, job) in enumerate(due, start=1)}
    at = NOW
    while len(line.began) < len(places):
        while due and due[0][0] <= at:
            line.waiting.append(due.pop(0)[1])
        line.round(at, runs_s)
        for job in line.waiting:
            assert at - job.created_at <= PATIENCE_S + (WALL_S + 1) * places[job.id]
        at += 1.0


def test_a_stream_of_small_jobs_does_not_keep_out_a_large_one() -> None:
    line = Line([make_node("a", memory_bytes=8 * GIB, cpu_count=4, slots=4)])
    line.waiting.append(asking("small_first", 2))
    line.round(NOW, {"small_first": 20})
    line.waiting.append(asking("large", 7))
    runs_s, at, passed = {"large": 1, "small_first": 20}, NOW, 0
    while "large" not in line.began:
        name = f"small_{at}"
        line.waiting.append(asking(name, 2, at=at))
        runs_s[name] = 20
        line.round(at, runs_s)
        passed += name in line.began
        assert at - NOW <= PATIENCE_S + WALL_S
        at += 5.0
    assert passed >= 15, "until then small ones pass"


def test_what_a_job_waits_for_is_told_with_what_is_free() -> None:
    node = make_node("laptop", memory_bytes=8 * GIB, cpu_count=4, slots=4)
    busy = replace(node, taken=Claim(7 * GIB, 1, 0, 1))
    told = reason(Floor([busy], gpu_fallback=False, now=NOW).choose(asking("job", 4)))
    assert told.message == "waits for 4.0 GiB of memory; laptop has 1.0 GiB of memory free"
    assert told.hint == ""
    away = make_node("attic", memory_bytes=8 * GIB, cpu_count=4, slots=4)
    fuller = replace(away, taken=Claim(8 * GIB, 3, 0, 3))
    floor = Floor([fuller, busy], gpu_fallback=False, now=NOW)
    assert reason(floor.choose(asking("job", 4))).message == (
        "waits for 4.0 GiB of memory; laptop, the nearest of 2 nodes that could run it, has "
        "1.0 GiB of memory free"
    )


def test_a_job_that_named_no_memory_is_told_that_it_could() -> None:
    node = make_node("laptop", memory_bytes=8 * GIB, cpu_count=4, slots=4)
    busy = replace(node, taken=Claim(8 * GIB, 1, 0, 1))
    told = reason(Floor([busy], gpu_fallback=False, now=NOW).choose(make_job()))
    assert told.message == "waits for 4.0 GiB of memory; laptop has none free"
    assert "--memory" in told.hint


def test_who_waits_behind_the_first_in_line_is_told_so() -> None:
    node = make_node("laptop", memory_bytes=8 * GIB, cpu_count=4, slots=4)
    busy = replace(node, taken=Claim(4 * GIB, 1, 0, 1))
    floor = Floor([busy], gpu_fallback=False, now=NOW + PATIENCE_S)
    first = reason(floor.choose(asking("large", 6)))
    assert first.message.endswith("; laptop keeps what becomes free for it")
    behind = reason(floor.choose(asking("small", 1, at=NOW + 1)))
    assert behind.message == (
        "waits behind large, which came first and waits for 6.0 GiB of memory"
    )


def test_what_the_first_in_line_leaves_is_used() -> None:
    node = make_node("gpu", memory_bytes=16 * GIB, slots=4, cpu_count=4, gpus=(Gpu("T4", GIB),))
    busy = replace(node, taken=Claim(GIB, 1, 1, 1))
    floor = Floor([busy], gpu_fallback=False, now=NOW + PATIENCE_S)
    reason(floor.choose(asking("graphic", 2, gpu_count=1)))
    assert isinstance(floor.choose(asking("plain", 2, at=NOW + 1)), Node)


def test_a_job_behind_asks_for_no_more_than_what_any_node_has() -> None:
    node = make_node("laptop", memory_bytes=8 * GIB, cpu_count=4, slots=4)
    busy = replace(node, taken=Claim(5 * GIB, 3, 0, 3))
    floor = Floor([busy], gpu_fallback=False, now=NOW)
    assert floor.room == Claim(3 * GIB, 1, 0, 1)
    assert floor.has_room
    empty = Floor([node], gpu_fallback=False, now=NOW)
    assert empty.room.memory_bytes > 8 * GIB, "it lowers what nobody asked for"
    full = replace(node, taken=Claim(8 * GIB, 1, 0, 1))
    assert not Floor([full], gpu_fallback=False, now=NOW).has_room
    lying = make_node("liar", memory_bytes=10**40)
    assert Floor([lying], gpu_fallback=False, now=NOW).room.memory_bytes < 2**63
