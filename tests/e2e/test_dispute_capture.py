"""Captured scripts that are audited: who lies about a part is named with the instruction.

Who lies is made to from outside, as in test_dispute_network.py: its processor flips one bit in each
result of an operation that the environment names.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from tests.e2e.challenger import challenge_once, settlement, start
from tests.e2e.network_process import NetworkProcess, make_ours

from bcai import SDK
from bcai.jobs.settlement import SettlementState
from bcai.sdk.result import Result

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("jail_of_namespaces"),
    pytest.mark.skipif(find_spec("torch") is None, reason="needs the package torch"),
]

LIAR = """
import os, sys
WRONG = os.environ.get("BCAI_TEST_WRONG")
WHO = ("challenge", "bcai.cluster.node.capture_worker", "bcai.cluster.node.defence_worker")
if WRONG and any(name in sys.orig_argv for name in WHO):
    import numpy as np
    from bcai.vm.backends.native.backend import NativeBackend
    from bcai.vm.backends.reference.backend import ReferenceBackend
    from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
    honest = ReferenceInterpreter.step
    def step(self, version, op, operands, attributes):
        results = honest(self, version, op, operands, attributes)
        if op.name != WRONG:
            return results
        first = np.array(results[0])
        first.reshape(-1).view(np.uint8)[2] ^= 16
        return (first, *results[1:])
    ReferenceInterpreter.step = step
    NativeBackend.compile = lambda self, program, **_: ReferenceBackend().compile(program)
"""
TRAIN = """
import torch
torch.manual_seed(0)
x = torch.randn(8, 4)
w = torch.randn(4, 2, requires_grad=True)
optimizer = torch.optim.SGD([w], lr=0.1)
for step in range(3):
    loss = torch.{op}(x @ w).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
del optimizer
"""
CLOCK = """
import time, torch
x = torch.tensor([time.time() % 1000.0, 1.0])
y = x.exp()
"""


@pytest.fixture(scope="module")
def network_of_liars(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkProcess]:
    folder = tmp_path_factory.mktemp("liars")
    (folder / "sitecustomize.py").write_text(LIAR)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    with NetworkProcess(folder / "home", PYTHONPATH=path, BCAI_TEST_WRONG="Tanh") as running:
        yield running


@pytest.fixture
def client(network_of_liars: NetworkProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[SDK]:
    with SDK(make_ours(network_of_liars, monkeypatch)) as opened:
        yield opened


def run(client: SDK, code: str) -> Result:
    job = client.create_job(code, capture=True, verify="full")
    assert "replays what the node recorded" in job.estimate().text
    return job.execute()


def test_a_node_that_flips_a_bit_is_named_with_the_instruction_of_the_part(
    client: SDK,
) -> None:
    honest, lying = run(client, TRAIN.format(op="relu")), run(client, TRAIN.format(op="tanh"))
    timed = run(client, CLOCK)
    assert settlement(client, honest.job_id).state is SettlementState.COMMITTED
    status, found = challenge_once()
    assert status == 1
    assert found[honest.job_id]["state"] == "SETTLED"
    assert "run again: the script gave the same trace" in found[honest.job_id]["text"]

    named = found[lying.job_id]
    assert (named["state"], named["node"]) == ("DISPUTED", lying.node)
    dispute = named["dispute"]
    assert (dispute["faulty"], dispute["code"]) == (["node"], "result")
    assert "(Tanh)" in dispute["place"]
    assert (dispute["step"], dispute["checkpoint"]) == (None, None)
    receipt = lying.capture_receipt
    assert receipt is not None
    known = settlement(client, lying.job_id)
    assert known.dispute is not None
    assert known.dispute.part == dispute["part"]
    assert known.lie is not None
    assert f"the part at leaf {dispute['part']}: instruction" in known.lie.message
    shown = subprocess.run(
        [sys.executable, "-m", "bcai.cli", "jobs", "show", lying.job_id],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"leaf {dispute['part']}: {dispute['place']}" in " ".join(shown.split())

    nobody = found[timed.job_id]
    assert (nobody["state"], nobody["lie"], nobody["dispute"]) == ("DISPUTED", None, None)
    assert "nobody can be blamed" in nobody["text"]
    assert settlement(client, timed.job_id).lie is None
    assert challenge_once() == (0, {})


def test_a_lying_challenger_loses_and_the_honest_node_settles(
    client: SDK, network_of_liars: NetworkProcess
) -> None:
    job = run(client, TRAIN.format(op="sigmoid"))
    folder = str(network_of_liars.home.parent)
    _, found = challenge_once(folder, BCAI_TEST_WRONG="Sigmoid")
    lost = found[job.job_id]
    assert lost["state"] == "COMMITTED"
    assert (lost["dispute"]["faulty"], lost["dispute"]["code"]) == (["challenger"], "result")
    assert "(Sigmoid)" in lost["dispute"]["place"]
    process = start("--once", PYTHONPATH=folder, BCAI_TEST_WRONG="Sigmoid")
    _, errors = process.communicate(timeout=300)
    assert "this key has lost a dispute about this result" in errors
    assert challenge_once()[1][job.job_id]["state"] == "SETTLED"
