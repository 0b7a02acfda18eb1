"""Disputes between a node and a challenger: down to the instruction, by clock, and through kills.

Who lies is made to from outside, by a module that Python imports first: the product has no switch
for it. In runs of seed 666 the node's processor flips one bit in a result of one instruction of
step 5, each time; in runs of seed 667 the challenger's does.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.challenger import challenge_once, settlement, start
from tests.e2e.network_process import NetworkProcess, make_ours, wait_until
from tests.e2e.small_training import fit, inputs, program

from bcai import SDK
from bcai.jobs.settlement import SettlementState

STEP = 5
LIAR = f"""
import sys
WHO = sys.orig_argv
SEED = 667 if "challenge" in WHO else 666
if "challenge" in WHO or any(name.startswith("bcai.cluster.node.") for name in WHO):
    import numpy as np
    from bcai.vm.backends.native import backend as native
    from bcai.vm.backends.reference.backend import ReferenceBackend

    class Wrong:
        def __init__(self, honest, program):
            self.honest, self.program = honest, program
            self.slow = ReferenceBackend().compile(program)
            self.bytes_peak = honest.bytes_peak
            self.at = next(
                number for number, each in enumerate(program.program.instructions)
                if each.op.name == "MatMul"
            )
        def run(self, values):
            return self.run_traced(values, lambda position, results: None)
        def run_traced(self, values, observe):
            wrong = int(values["seed"]) == SEED and int(values["step"]) == {STEP}
            if not wrong:
                return self.slow.run_traced(values, observe)
            from bcai.vm.backends.reference.interpreter import ReferenceInterpreter
            at = self.at
            class Faulty(ReferenceInterpreter):
                count, depth = 0, 0
                def step(self, version, op, operands, attributes):
                    self.depth += 1
                    results = super().step(version, op, operands, attributes)
                    self.depth -= 1
                    if self.depth == 0:
                        if self.count == at:
                            first = np.array(results[0])
                            first.reshape(-1).view(np.uint8)[2] ^= 16
                            results = (first, *results[1:])
                        self.count += 1
                    return results
            return Faulty().run(self.program, values, observe)

    honest = native.NativeBackend.compile
    def compile(self, program, **options):
        found = honest(self, program, **options)
        names = {{port.name for port in program.program.inputs}}
        return Wrong(found, program) if {{"seed", "step"}} <= names else found
    native.NativeBackend.compile = compile
"""
PAUSES = """
import sys, time, os
if "challenge" in sys.orig_argv:
    import bcai.cli.court as module
    honest = module.answer_with
    calls = 0
    async def slow(side, question):
        global calls
        calls += 1
        if calls == 4:
            print("half way", flush=True)
            time.sleep(600)
        return await honest(side, question)
    module.answer_with = slow
"""


@contextmanager
def network_at(folder: Path, **environment: str) -> Generator[NetworkProcess, None, None]:
    (folder / "sitecustomize.py").write_text(LIAR)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    with NetworkProcess(folder / "home", PYTHONPATH=path, **environment) as running:
        yield running


@pytest.fixture(scope="module")
def network_of_liars(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[NetworkProcess]:
    # Evidence goes after seconds, as from a full shelf, at the end of the next job.
    folder = tmp_path_factory.mktemp("liars")
    with network_at(folder, BCAI_NODE__EVIDENCE_HOURS="0.0005") as running:
        yield running


@contextmanager
def client_of(
    network: NetworkProcess, monkeypatch: pytest.MonkeyPatch
) -> Generator[SDK, None, None]:
    with SDK(make_ours(network, monkeypatch)) as opened:
        yield opened


@pytest.fixture
def client(network_of_liars: NetworkProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[SDK]:
    with client_of(network_of_liars, monkeypatch) as opened:
        yield opened


def test_a_node_that_flips_a_bit_is_named_with_step_and_instruction(client: SDK) -> None:
    honest, lying = fit(client, 1).result, fit(client, 666).result
    status, found = challenge_once()
    assert status == 1
    assert found[honest.job_id]["state"] == "SETTLED"
    named = found[lying.job_id]
    assert (named["state"], named["node"]) == ("DISPUTED", lying.node)
    dispute = named["dispute"]
    assert dispute["faulty"] == ["node"]
    assert (dispute["checkpoint"], dispute["step"]) == (1, STEP)
    assert dispute["code"] == "result"
    assert "(MatMul)" in dispute["place"]
    assert [each.split(": ")[1] for each in dispute["operands"]] == ["float32[8,6]", "float32[6,3]"]
    assert dispute["messages"] > 8
    assert dispute["nbytes"] > 1000

    known = settlement(client, lying.job_id)
    assert known.state is SettlementState.DISPUTED
    assert known.lie is not None
    assert known.lie.steps == (STEP, STEP + 1)
    assert known.dispute is not None
    assert known.dispute.instruction == dispute["instruction"]
    shown = subprocess.run(
        [sys.executable, "-m", "bcai.cli", "jobs", "show", lying.job_id],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    flat = " ".join(shown.split())
    assert f"step {STEP}" in flat
    assert dispute["place"] in flat
    assert challenge_once() == (0, {})


def test_a_node_that_lies_about_a_program_is_named_with_the_instruction(client: SDK) -> None:
    honest = client.submit_program(program(), inputs(1, STEP), verify="full")
    lying = client.submit_program(program(), inputs(666, STEP), verify="full")
    status, found = challenge_once()
    assert status == 1
    assert found[honest.job_id]["state"] == "SETTLED"
    dispute = found[lying.job_id]["dispute"]
    assert (dispute["faulty"], dispute["code"], dispute["step"]) == (["node"], "result", 0)
    assert "(MatMul)" in dispute["place"]
    assert [each.split(": ")[1] for each in dispute["operands"]] == ["float32[8,6]", "float32[6,3]"]
    known = settlement(client, lying.job_id)
    assert known.state is SettlementState.DISPUTED
    assert known.dispute is not None
    assert known.dispute.instruction == dispute["instruction"]


def test_a_lying_challenger_loses_and_is_not_heard_again(
    client: SDK, network_of_liars: NetworkProcess
) -> None:
    job = fit(client, 667).result
    folder = str(network_of_liars.home.parent)
    _, found = challenge_once(folder)
    lost = found[job.job_id]
    assert lost["state"] == "COMMITTED"
    assert lost["dispute"]["faulty"] == ["challenger"]
    assert (lost["dispute"]["step"], lost["dispute"]["code"]) == (STEP, "result")
    known = settlement(client, job.job_id)
    assert known.state is SettlementState.COMMITTED
    assert known.dispute is not None
    assert known.dispute.challenger in known.text

    process = start("--once", PYTHONPATH=folder)
    _, errors = process.communicate(timeout=120)
    assert "this key has lost a dispute about this result" in errors
    assert challenge_once()[1][job.job_id]["state"] == "SETTLED"


def test_a_killed_challenger_and_a_killed_network_go_on_where_they_were(
    client: SDK, network_of_liars: NetworkProcess, tmp_path: Path
) -> None:
    job = fit(client, 666).result
    (tmp_path / "sitecustomize.py").write_text(PAUSES)
    with start(PYTHONPATH=str(tmp_path)) as slow:
        assert slow.stdout is not None
        assert slow.stdout.readline() == "half way\n"
        os.kill(slow.pid, signal.SIGKILL)
    before = rounds_of(network_of_liars, job.job_id)
    assert len(before) == 4
    for part in ("gateway", "scheduler", "node"):
        network_of_liars.kill(part)
    fit(client, 3, "none")
    evidence = {each.name for each in network_of_liars.home.glob("node/evidence/job_*")}
    assert job.job_id in evidence  # older than it may get, but in dispute
    status, found = challenge_once()
    assert status == 1
    dispute = found[job.job_id]["dispute"]
    assert (dispute["faulty"], dispute["step"], dispute["code"]) == (["node"], STEP, "result")
    after = rounds_of(network_of_liars, job.job_id)
    assert [each["question"] for each in after[:4]] == [each["question"] for each in before]
    assert [each["node"] for each in after[:3]] == [each["node"] for each in before[:3]]
    pins = network_of_liars.home / "node" / "disputed"
    wait_until(lambda: not list(pins.iterdir()), "the node lets go what is not in dispute")


@pytest.mark.slow
def test_a_node_that_says_nothing_loses_by_its_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        network_at(tmp_path, BCAI_DISPUTE_CLOCK_S="4") as network,
        client_of(network, monkeypatch) as client,
    ):
        job = fit(client, 666).result
        node = network.pid_of("node")
        os.kill(node, signal.SIGSTOP)
        try:
            status, found = challenge_once()
        finally:
            os.kill(node, signal.SIGCONT)
        assert status == 1
        dispute = found[job.job_id]["dispute"]
        assert (dispute["faulty"], dispute["code"]) == (["node"], "silent")
        assert settlement(client, job.job_id).state is SettlementState.DISPUTED


def rounds_of(network: NetworkProcess, job_id: str) -> list[dict[str, Any]]:
    """What was asked and said so far, as it is stored."""
    with sqlite3.connect(network.home / "network" / "bcai.db") as database:
        (body,) = database.execute(
            "select body from disputes where job_id = ?", (job_id,)
        ).fetchone()
    return json.loads(body)["rounds"]


STUCK = """
import sys, os
if "bcai.cluster.node" in sys.orig_argv and not os.path.exists(os.environ["BCAI_TEST_ONCE"]):
    import anyio
    from bcai.cluster.node.transfer import BlobTransfer
    async def upload(self, digest, content):
        open(os.environ["BCAI_TEST_ONCE"], "w").close()
        await anyio.sleep_forever()
    BlobTransfer.upload = upload
"""


def test_a_receipt_survives_its_node_that_is_killed_before_it_hands_it_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(STUCK)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    mark = tmp_path / "computed"
    with (
        NetworkProcess(tmp_path / "home", PYTHONPATH=path, BCAI_TEST_ONCE=str(mark)) as network,
        client_of(network, monkeypatch) as client,
    ):
        future = subprocess.Popen(
            [sys.executable, "-c", _SUBMIT], env={**os.environ}, stdout=subprocess.PIPE, text=True
        )
        with future:
            wait_until(mark.exists, "the training is over")
            (kept,) = network.home.glob("**/evidence/job_*/receipt.bcai")
            signed = kept.read_bytes()
            network.kill("node")
            answer, _ = future.communicate(timeout=120)
        result = client.job(answer.strip()).result()
        assert len(result.job.attempts) == 2
        assert result.receipt_bytes == signed


_SUBMIT = """
from bcai import SDK
from tests.e2e.small_training import fit
with SDK() as client:
    print(fit(client, 5, "none").result.job_id)
"""
