"""A gateway that is killed costs a client nothing but time."""

import math
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.e2e.network_process import NetworkProcess, make_ours

from bcai import SDK, UnreachableError
from bcai.sdk.events import LogEvent

COUNTING = """
import time
for number in range(40):
    print("line", number, flush=True)
    time.sleep(0.1)
"""


@pytest.fixture
def network(tmp_path: Path) -> Generator[NetworkProcess, None, None]:
    """A network whose leases outlast a gateway's restart on a slow, busy machine."""
    with NetworkProcess(tmp_path / "home", BCAI_LEASE_S="120") as running:
        yield running


@pytest.fixture(autouse=True)
def settings(network: NetworkProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    make_ours(network, monkeypatch)


def test_streams_and_requests_go_on_after_the_gateway_was_killed(network: NetworkProcess) -> None:
    with SDK(network.endpoint()["url"]) as client:
        job = client.create_job(COUNTING).submit()
        sequences: list[int] = []
        text = ""
        kills = 0
        for event in job.events():
            sequences.append(event.sequence)
            if isinstance(event, LogEvent):
                text += event.text
                if text.count("\n") >= (5, 20, math.inf)[kills]:
                    network.kill("gateway")
                    kills += 1
                    assert job.status in {"RUNNING", "SUCCEEDED"}
        assert kills == 2
        assert sequences == list(range(1, len(sequences) + 1))
        assert text == "".join(f"line {number}\n" for number in range(40))
        assert job.wait().logs == text


def test_a_submission_during_the_outage_is_one_job(network: NetworkProcess) -> None:
    with SDK(network.endpoint()["url"]) as client:
        client.nodes()
        network.kill("gateway")
        job = client.create_job("x = 1", name="during-the-outage")
        assert job.execute().outputs["x"] == 1
        assert [listed.name for listed in client.list_jobs()].count("during-the-outage") == 1


def test_a_network_that_is_gone_is_said_with_what_to_do(network: NetworkProcess) -> None:
    with SDK(network.endpoint()["url"], auto_retry=False) as client:
        client.nodes()
        network.stop()
        with pytest.raises(UnreachableError) as caught:
            client.nodes()
        assert "bcai up" in caught.value.hint
