"""kill -9 of every part, at every moment of a job's life: nothing acknowledged or shown is lost."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.network_process import NetworkProcess
from tests.e2e.watcher import Watcher, log_lines, run, stored_events, submit, wait_final

LINES = 15
COUNTING = f"""
import time
for number in range({LINES}):
    print("line", number, flush=True)
    time.sleep(0.1)
counted = {LINES}
"""
TRAINING = """
import bcai, torch
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
inputs = torch.randn(64, 4)
targets = inputs.sum(1, keepdim=True)
import time
for step in range(15):
    loss = torch.nn.functional.mse_loss(model(inputs), targets)
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    bcai.log(step=step, loss=loss.item())
    print("line", step, flush=True)
    time.sleep(0.1)
final_loss = loss.item()
"""

Moment = Callable[[Watcher], None]


def at_once(_: Watcher) -> None:
    """The job was acknowledged a moment ago."""


def assigned(watcher: Watcher) -> None:
    watcher.wait_for_state("ASSIGNED")


def started(watcher: Watcher) -> None:
    watcher.wait_for_state("RUNNING")


def middle(watcher: Watcher) -> None:
    watcher.wait_for_line(f"line {LINES // 2}")


def last_line(watcher: Watcher) -> None:
    watcher.wait_for_line(f"line {LINES - 1}")


def moments() -> list[object]:
    """Pairs of a victim and a moment; those that add least to the others are slow."""
    quick = [
        ("gateway", middle), ("scheduler", at_once), ("node", middle), ("network", middle),
    ]  # fmt: skip
    rest = [
        ("gateway", at_once), ("gateway", last_line), ("scheduler", started),
        ("node", assigned), ("node", last_line), ("network", at_once), ("network", last_line),
    ]  # fmt: skip
    return [
        *(pytest.param(*pair, id=f"{pair[0]}-{pair[1].__name__}") for pair in quick),
        *(
            pytest.param(*pair, id=f"{pair[0]}-{pair[1].__name__}", marks=pytest.mark.slow)
            for pair in rest
        ),
    ]


@pytest.mark.parametrize(("victim", "moment"), moments())
def test_a_killed_part_loses_no_job_and_no_line(
    network: NetworkProcess, victim: str, moment: Moment
) -> None:
    job_ids = [submit(network, COUNTING), submit(network, COUNTING)]
    watchers = [Watcher(network, job_id) for job_id in job_ids]
    moment(watchers[0])
    network.kill(victim)
    for watcher in watchers:
        job = wait_final(network, watcher.job_id)
        assert job["state"] == "SUCCEEDED", f"{job['outcome']}\n{network.output()}"
        watcher.stop()
        assert_history(network, watcher)
        last = len(job["attempts"])
        lines = log_lines(stored_events(network, watcher.job_id), last)
        assert lines == [f"line {number}" for number in range(LINES)]


def test_a_job_that_trains_is_trained_again_when_its_node_dies(network: NetworkProcess) -> None:
    watcher = Watcher(network, submit(network, TRAINING))
    watcher.wait_for_line("line 5")
    network.kill("node")
    job = wait_final(network, watcher.job_id)
    watcher.stop()
    assert job["state"] == "SUCCEEDED", job["outcome"]
    assert [attempt["reason"]["code"] for attempt in job["attempts"]] == [
        "node.lost", "job.succeeded",
    ]  # fmt: skip
    assert_history(network, watcher)
    events = stored_events(network, watcher.job_id)
    steps = [
        event["body"]["step"]
        for event in events
        if event["kind"] == "metric" and event["attempt"] == 2
    ]
    assert steps == list(range(15))
    assert {output["name"] for output in job["outcome"]["outputs"]} >= {"final_loss"}


def test_without_retries_a_lost_node_fails_the_job_and_is_named(network: NetworkProcess) -> None:
    watcher = Watcher(network, submit(network, COUNTING, max_retries=0))
    middle(watcher)
    network.kill("node")
    job = wait_final(network, watcher.job_id)
    watcher.stop()
    assert (job["state"], job["outcome"]["reason"]["code"]) == ("FAILED", "node.lost")
    assert job["attempts"][0]["node_name"] in job["outcome"]["reason"]["message"]
    assert_history(network, watcher)
    assert run(network, "print('still here')")["state"] == "SUCCEEDED"


def test_a_node_that_comes_back_after_its_lease_ran_out_gives_the_job_up(
    network: NetworkProcess,
) -> None:
    watcher = Watcher(network, submit(network, COUNTING))
    middle(watcher)
    node = network.pid_of("node")
    os.kill(node, signal.SIGSTOP)  # its jail goes on meanwhile
    watcher.wait_for_state_again("QUEUED")
    os.kill(node, signal.SIGCONT)
    job = wait_final(network, watcher.job_id)
    watcher.stop()
    assert job["state"] == "SUCCEEDED", f"{job['outcome']}\n{network.output()}"
    assert [attempt["reason"]["code"] for attempt in job["attempts"]] == [
        "node.lost",
        "job.succeeded",
    ]
    assert_history(network, watcher)
    lines = log_lines(stored_events(network, watcher.job_id), 2)
    assert lines == [f"line {number}" for number in range(LINES)]


def test_a_network_that_is_stopped_hands_its_jobs_to_the_next(tmp_path: Path) -> None:
    with NetworkProcess(tmp_path / "home", BCAI_NODE__GRACE_S="0.1") as network:
        watcher = Watcher(network, submit(network, COUNTING))
        middle(watcher)
        assert network.stop() == 0
        assert network.endpoint() == {}
        assert not network.leftovers()
        network.start()
        job = wait_final(network, watcher.job_id)
        watcher.stop()
        assert job["state"] == "SUCCEEDED", job["outcome"]
        assert len(job["attempts"]) in (1, 2)  # 1: it was done before the stop took hold
        assert_history(network, watcher)


def assert_history(network: NetworkProcess, watcher: Watcher) -> None:
    """Everything that was shown is stored, once, under the number that it was shown with."""
    stored = stored_events(network, watcher.job_id)
    assert [event["sequence"] for event in stored] == list(range(1, len(stored) + 1))
    by_sequence = {event["sequence"]: event for event in stored}
    for event in watcher.shown:
        assert by_sequence.get(event["sequence"]) == event
    for attempt in {event["attempt"] for event in stored}:
        lines = log_lines(stored, attempt)
        assert len(lines) == len(set(lines)), f"attempt {attempt} has lines twice"
