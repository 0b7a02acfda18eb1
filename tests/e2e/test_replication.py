"""Jobs that three nodes do: a liar is outvoted and named, a killed node is replaced.

The second node is made to lie from outside, by a module that Python imports first: the product has
no switch for it. It flips one bit of every output that is called `weights`, and signs for that.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.e2e.network_process import NetworkProcess, make_ours, wait_until

from bcai import SDK
from bcai.jobs.outcome import ReasonCode
from bcai.jobs.settlement import Settlement, SettlementState
from bcai.proof.evidence import EvidenceClass
from bcai.sdk.result import Result

LIAR = """
import os, sys
if "bcai.cluster.node" in sys.orig_argv and os.environ.get("BCAI_NODE__NAME", "").endswith("-2"):
    from dataclasses import replace
    import bcai.cluster.node.run_job as module
    honest = module.upload_outputs
    async def lying(outputs, transfer):
        flipped = []
        for each in outputs:
            if each.name == "weights":
                content = each.content[:-1] + bytes([each.content[-1] ^ 1])
                each = replace(each, content=content)
            flipped.append(each)
        return await honest(flipped, transfer)
    module.upload_outputs = lying
"""
SCRIPT = """
import numpy as np
print("noise", np.random.default_rng().normal())
weights = np.random.default_rng(7).normal(size=(3, 4)).astype("float32")
loss = float(weights.sum())
"""
WEIGHTS = np.random.default_rng(7).normal(size=(3, 4)).astype("float32")
HONEST = SCRIPT.replace("weights", "state")
RANDOM = """
import os
loss = os.urandom(8).hex()
epochs = 3
"""
SLOW = """
import time
time.sleep(10)
total = 6
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Generator[NetworkProcess, None, None]:
    folder = tmp_path_factory.mktemp("replicas")
    (folder / "sitecustomize.py").write_text(LIAR)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    with NetworkProcess(folder / "home", "--nodes", "3", PYTHONPATH=path) as running:
        yield running


@pytest.fixture
def client(network: NetworkProcess, monkeypatch: pytest.MonkeyPatch) -> Generator[SDK, None, None]:
    with SDK(make_ours(network, monkeypatch)) as opened:
        wait_until(lambda: sum(node.online for node in opened.nodes()) == 3, "three nodes are here")
        yield opened


def settled(result: Result) -> Settlement:
    assert result.settlement is not None
    return result.settlement


def bcai(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bcai.cli", *arguments], capture_output=True, text=True, check=False
    )


def document(*arguments: str) -> dict[str, Any]:
    answer = bcai(*arguments, "--json")
    assert answer.stdout, answer.stderr
    return json.loads(answer.stdout)


def test_a_node_that_lies_is_outvoted_and_named(client: SDK, tmp_path: Path) -> None:
    job = client.create_job(SCRIPT, verify="replicated:3")
    assert (job.estimate().nodes, job.estimate().runs) == (3, 3.0)
    result = job.execute()
    np.testing.assert_array_equal(result.outputs["weights"], WEIGHTS)
    found = settled(result)
    assert found.state is SettlementState.SETTLED
    liar = next(each for each in found.replicas if each.node_name.endswith("-2"))
    assert "2 of 3 nodes agree: " in found.text
    assert f"{liar.node_name} ({liar.node_id}) differs in 'weights'" in found.text
    assert len({each.node_id for each in found.replicas}) == 3
    assert len({each.key for each in found.replicas}) == 3
    assert result.attestation is not None
    assert result.attestation.evidence is EvidenceClass.REPLICATED

    folder = tmp_path / "results"
    result.save(folder)
    checked = document("receipt", "check", str(folder / "receipt.bcai"), "--outputs", str(folder))
    assert (checked["clean"], checked["evidence"]) == (True, "replicated")
    assert {each["key"] for each in checked["nodes"] if not each["agrees"]} == {liar.key}
    assert any(f"{liar.key} differs: weights" in text for text in checked["unchecked"])
    (folder / "weights.npy").write_bytes((folder / "weights.npy").read_bytes()[:-1] + b"\1")
    wrong = document("receipt", "check", str(folder / "receipt.bcai"), "--outputs", str(folder))
    assert [each["name"] for each in wrong["findings"]] == ["received.content"]


def test_nodes_that_agree_settle_whatever_they_print(client: SDK) -> None:
    result = client.create_job(HONEST, verify="replicated:3").execute()
    assert settled(result).state is SettlementState.SETTLED
    assert settled(result).text.startswith("3 nodes agree: ")
    assert [each.id for each in client.list_jobs(limit=1)] == [result.job_id]
    other = client.job(f"{result.job_id}-2").refresh()
    assert other.state.is_final
    for named in (other.id, f"{result.job_id[-8:]}-2"):
        assert document("jobs", "logs", named)["id"] == other.id


def test_an_error_is_an_answer_like_any_other(client: SDK) -> None:
    result = client.create_job("raise ValueError('no')", verify="replicated:2").execute(check=False)
    assert result.status == "FAILED"
    assert result.reason is not None
    assert "ValueError: no" in result.reason.message
    assert settled(result).state is SettlementState.SETTLED


def test_a_job_that_is_never_the_same_is_disputed_and_told_of_seeds(
    client: SDK, tmp_path: Path
) -> None:
    script = tmp_path / "random_job.py"
    script.write_text(RANDOM)
    answer = bcai("run", str(script), "--verify", "replicated:2")
    assert answer.returncode == 1, answer.stderr
    assert "verify replicated:2: 2 nodes of one fingerprint do the job" in answer.stderr
    assert "do not agree on 'loss' (the same everywhere: 'epochs')" in answer.stderr
    assert "torch.manual_seed(0)" in answer.stderr
    job = client.list_jobs(limit=1)[0].refresh()
    assert job.settlement is not None
    assert job.settlement.state is SettlementState.DISPUTED
    assert len(job.settlement.replicas) == 3, "a further node was asked to decide"


@pytest.mark.slow
def test_a_node_that_is_killed_is_replaced_and_nothing_is_lost(
    client: SDK, network: NetworkProcess
) -> None:
    job = client.create_job(SLOW, verify="replicated:2", max_retries=5).submit()
    second = client.job(f"{job.id}-2")
    wait_until(lambda: second.refresh().state.value == "RUNNING", "the second replica runs")
    held = second.refresh().attempts[-1]
    victim = held.node_name
    network.note_processes()
    os.kill(network.pid_of_node(victim), signal.SIGKILL)
    result = job.result()
    assert settled(result).state is SettlementState.SETTLED
    assert settled(result).text.startswith("2 nodes agree: ")
    lost = next(each for each in second.refresh().attempts if each.number == held.number)
    assert lost.reason is not None
    assert lost.reason.code is ReasonCode.NODE_LOST


def test_cancelling_one_cancels_all(client: SDK) -> None:
    job = client.create_job("import time; time.sleep(600)", verify="replicated:2").submit()
    second = client.job(f"{job.id}-2")
    wait_until(lambda: job.status == "RUNNING" and second.status == "RUNNING", "both run")
    job.cancel()
    wait_until(lambda: second.refresh().state.value == "CANCELLED", "the other one is cancelled")
    assert job.wait(check=False).status == "CANCELLED"


def test_too_few_nodes_are_waited_for_with_what_there_is(client: SDK) -> None:
    job = client.create_job("x = 1", verify="replicated:5").submit()
    wait_until(lambda: job.refresh().waiting is not None, "it says why it waits")
    waiting = job.refresh().waiting
    assert waiting is not None
    assert waiting.code is ReasonCode.WAITING_REPLICAS
    assert "needs 5 nodes of one fingerprint, and 3 are online" in waiting.message
    assert "start more nodes of one kind" in waiting.hint
    job.cancel()


def test_one_nodes_word_is_called_that(client: SDK, tmp_path: Path) -> None:
    result = client.create_job("x = [1, float('nan')]").execute()
    assert result.settlement is None
    result.save(tmp_path)
    checked = document("receipt", "check", str(tmp_path / "receipt.bcai"))
    assert (checked["clean"], checked["evidence"]) == (True, "attested")
    shown = bcai("receipt", "show", str(tmp_path / "receipt.bcai")).stdout
    assert "one node's word: nobody else did the job" in shown
