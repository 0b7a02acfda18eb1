from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cluster.scheduler.scheduler_samples import NOW, make_job, make_node

from bcai.cluster.scheduler.placement import Floor
from bcai.jobs.node import Node
from bcai.jobs.outcome import Reason, ReasonCode


def choose(nodes: list[Node], **job: object) -> Node | Reason:
    return Floor(nodes, gpu_fallback=False, now=NOW).choose(make_job(**job))  # pyright: ignore[reportArgumentType]


def code_of(answer: Node | Reason) -> ReasonCode:
    assert isinstance(answer, Reason)
    return answer.code


def test_the_emptiest_node_that_fits_gets_the_job() -> None:
    busy, empty = make_node("busy", running=1), make_node("empty")
    assert choose([busy, empty]) == empty


def test_a_node_where_the_job_was_lost_comes_last() -> None:
    first, second = make_node("first"), make_node("second", running=1)
    assert choose([first, second], tried=("first",)) == second
    assert choose([first], tried=("first",)) == first


def test_without_a_node_the_reason_says_which_are_away() -> None:
    assert code_of(choose([])) is ReasonCode.WAITING_NO_NODE
    answer = choose([make_node("laptop", online=False)])
    assert code_of(answer) is ReasonCode.WAITING_NO_NODE
    assert isinstance(answer, Reason)
    assert "laptop" in answer.message


def test_where_nothing_fits_the_reason_names_node_wish_and_offer() -> None:
    answer = choose([make_node("laptop")], cpu_count=64)
    assert code_of(answer) is ReasonCode.WAITING_CAPACITY
    assert isinstance(answer, Reason)
    for part in ("laptop", "64", "2"):
        assert part in answer.message


def test_where_all_slots_are_taken_the_job_waits() -> None:
    answer = choose([make_node("laptop", slots=1, running=1)])
    assert code_of(answer) is ReasonCode.WAITING_CAPACITY


def test_a_requirement_that_does_not_parse_stops_nobody() -> None:
    answer = choose([make_node("laptop")], requirements=("===",))
    assert code_of(answer) is ReasonCode.WAITING_CAPACITY


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 6)), max_size=6), st.integers(0, 30))
def test_no_node_ever_gets_more_than_its_free_slots(
    sizes: list[tuple[int, int]], jobs: int
) -> None:
    nodes = [
        make_node(str(number), slots=slots, running=running)
        for number, (slots, running) in enumerate(sizes)
    ]
    floor = Floor(nodes, gpu_fallback=False, now=NOW)
    placed = dict.fromkeys((node.id for node in nodes), 0)
    for _ in range(jobs):
        answer = floor.choose(make_job())
        if isinstance(answer, Node):
            floor.take(make_job(), answer)
            placed[answer.id] += 1
    free = {node.id: max(node.capabilities.slots - len(node.running), 0) for node in nodes}
    assert all(placed[node.id] <= free[node.id] for node in nodes)
    assert sum(placed.values()) == min(jobs, sum(free.values()))
    assert floor.has_room == (sum(placed.values()) < sum(free.values()))
