"""Replicas run on nodes of one fingerprint, never two on one; what is missing is said."""

from dataclasses import replace

import pytest
from tests.unit.cluster.scheduler.scheduler_samples import NOW, make_node

from bcai.cluster.scheduler.placement import Floor
from bcai.jobs.environment import OWN_NAME, Environment
from bcai.jobs.fingerprint import difference, fingerprint_of, in_words
from bcai.jobs.job import Job
from bcai.jobs.node import Fingerprint, Node
from bcai.jobs.outcome import Reason, ReasonCode
from bcai.jobs.replication import Replica
from bcai.jobs.spec import JobSpec
from bcai.jobs.states import JobState
from bcai.jobs.verify import Policy, Verify

SPEC = JobSpec("job", code="1", verify=Verify(Policy.REPLICATED, replicas=2))
FIRST = Replica("job_1", 1)


def box(
    name: str, *, threads: str = "2", lock: str = "sha256:0123456789", running: int = 0
) -> Node:
    node = make_node(name, running=running)
    machine = {"cpu": "a processor", "threads": threads}
    own = Environment(OWN_NAME, "3.11.7", {"torch": "2.8.0"}, lock)
    capabilities = replace(node.capabilities, machine=machine, environments=(own,))
    return replace(node, capabilities=capabilities)


def fingerprint(node: Node) -> Fingerprint:
    found = fingerprint_of(SPEC, node.capabilities)
    assert found is not None
    return found


def choose(nodes: list[Node], replica: Replica) -> Node | Reason:
    job = Job("job_1", "key_1", SPEC, JobState.QUEUED, NOW, NOW, "token", replica=replica)
    return Floor(nodes, gpu_fallback=False, now=NOW).choose(job)


def test_a_fingerprint_names_what_decides_bits() -> None:
    assert dict(fingerprint(box("a"))) == {
        "cpu": "a processor",
        "lock": "sha256:0123456789",
        "python": "3.11.7",
        "threads": "2",
        "torch": "2.8.0",
    }
    assert in_words(fingerprint(box("a"))) == (
        "Python 3.11.7, torch 2.8.0, lock 01234567, a processor, 2 threads"
    )
    other = fingerprint(box("b", threads="4"))
    assert difference(fingerprint(box("a")), other) == "threads: 2 and 4"
    assert fingerprint_of(SPEC, make_node("old").capabilities) is None


def test_the_first_replica_goes_where_there_are_enough_alike() -> None:
    single, pair = box("a", threads="8"), [box("b", running=1), box("c", running=1)]
    found = choose([single, *pair], Replica("job_1", 1))
    assert found in pair, "although the other one is emptier"


def test_no_node_gets_two_and_no_other_kind_gets_one() -> None:
    nodes = [box("a"), box("b", running=1), box("c", threads="8")]
    replica = Replica("job_1", 2, fingerprint(nodes[0]), ("node-a",))
    assert choose(nodes, replica) == nodes[1]
    answer = choose([nodes[0], nodes[2]], replica)
    assert isinstance(answer, Reason)
    assert answer.code is ReasonCode.WAITING_REPLICAS
    assert "c differs in threads: 2 and 8" in answer.message
    assert "a did it already, or does" in answer.message
    full = choose([nodes[0], box("b", running=2)], replica)
    assert isinstance(full, Reason)
    assert full.code is ReasonCode.WAITING_CAPACITY


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([box("a")], "replicated:2 needs 2 nodes of one fingerprint, and 1 is online (a: Python"),
        ([box("a"), box("b", lock="sha256:9")], "1 is online; of 2 kinds (a: Python"),
        ([make_node("old"), make_node("older")], "old: tells no fingerprint"),
    ],
)
def test_too_few_alike_are_told_apart(nodes: list[Node], message: str) -> None:
    found = choose(nodes, FIRST)
    assert isinstance(found, Reason)
    assert found.code is ReasonCode.WAITING_REPLICAS
    assert message in found.message
    assert isinstance(choose([*nodes, box("y"), box("z")], FIRST), Node)
