"""Two nodes with little memory: what does not fit waits and says so, and every end makes room."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator

import pytest
from tests.e2e.network_process import NetworkProcess, make_ours, wait_until

from bcai import SDK
from bcai.base.units import GIB
from bcai.jobs.node import NOTHING
from bcai.jobs.outcome import ReasonCode
from bcai.sdk.job import Job

HOLDS = "import time; time.sleep(600)"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Generator[NetworkProcess, None, None]:
    home = tmp_path_factory.mktemp("room") / "home"
    # A lease that a busy machine keeps: a job that is lost in between makes room, too.
    small = {"BCAI_NODE__MEMORY_MB": "6144", "BCAI_NODE__SLOTS": "4", "BCAI_LEASE_S": "8"}
    with NetworkProcess(home, "--nodes", "2", **small) as running:
        yield running


@pytest.fixture
def client(network: NetworkProcess, monkeypatch: pytest.MonkeyPatch) -> Generator[SDK, None, None]:
    with SDK(make_ours(network, monkeypatch)) as opened:
        wait_until(lambda: sum(node.online for node in opened.nodes()) == 2, "two nodes are here")
        yield opened
        for job in opened.list_jobs(limit=100):
            if not job.refresh().state.is_final:
                job.cancel()
        wait_until(lambda: taken(opened) == [0, 0], "all that jobs had is given back")
        assert all(node.taken == NOTHING for node in opened.nodes())


def taken(client: SDK) -> list[int]:
    return sorted(node.taken.memory_bytes for node in client.nodes())


def both_full(client: SDK) -> list[Job]:
    """Each node has a job that leaves 2 GiB."""
    large = [client.create_job(HOLDS, limits={"memory": "4GiB"}).submit() for _ in range(2)]
    wait_until(lambda: all(job.status == "RUNNING" for job in large), "both run")
    assert taken(client) == [4 * GIB, 4 * GIB]
    assert len({job.refresh().attempts[-1].node_id for job in large}) == 2
    return large


def test_a_job_without_room_waits_and_says_for_what_while_smaller_ones_run(client: SDK) -> None:
    large = both_full(client)
    waits = client.create_job("x = 1", limits={"memory": "3GiB"}).submit()
    wait_until(lambda: waits.refresh().waiting is not None, "it says why it waits")
    waiting = waits.refresh().waiting
    assert waiting is not None
    assert waiting.code is ReasonCode.WAITING_CAPACITY
    assert "waits for 3.0 GiB of memory; " in waiting.message
    assert "the nearest of 2 nodes that could run it, has 2.0 GiB of memory free" in waiting.message
    command = [sys.executable, "-m", "bcai.cli", "run", "--memory", "5GiB", "--code", "print(3)"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as shell:
        assert shell.stderr is not None
        lines = list[str]()
        for line in shell.stderr:
            lines.append(line)
            if "QUEUED" in line:
                break
        told = "".join(lines)
        assert "QUEUED: position 2; waits for 5.0 GiB of memory; " in told
        small = client.create_job("x = 2", limits={"memory": "1GiB"}).execute()
        assert small.outputs["x"] == 2
        assert waits.status == "QUEUED"
        for job in large:
            job.cancel()
        assert waits.result().outputs["x"] == 1
        shell.stderr.read()
    assert shell.returncode == 0


@pytest.mark.slow
def test_what_was_killed_gives_back_what_it_had_and_no_more(
    client: SDK, network: NetworkProcess
) -> None:
    large = both_full(client)
    waits = client.create_job("x = 1", limits={"memory": "3GiB"}).submit()
    network.kill("scheduler")
    assert client.create_job("x = 2", limits={"memory": "1GiB"}).execute().outputs["x"] == 2
    assert waits.status == "QUEUED", [job.refresh().attempts for job in large]
    assert taken(client) == [4 * GIB, 4 * GIB]

    large[0].cancel()
    assert waits.result().outputs["x"] == 1
    other = large[1]
    before = other.refresh().attempts[-1]
    network.note_processes()
    os.kill(network.pid_of_node(before.node_name), signal.SIGKILL)
    wait_until(lambda: len(other.refresh().attempts) == 2, "the lost job is tried again")
    lost = other.refresh().attempts[0].reason
    assert lost is not None
    assert lost.code is ReasonCode.NODE_LOST
    assert taken(client) == [0, 4 * GIB]
