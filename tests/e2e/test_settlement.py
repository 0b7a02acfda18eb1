"""Results that are audited: a node that lies is named, an honest one settles, a kill loses nothing.

The node's training worker is made to lie from outside, by a module that Python imports first: the
product has no switch for it. It flips one bit of the state in runs of seed 666, then goes on.
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
from tests.e2e.challenger import challenge_once, start
from tests.e2e.network_process import NetworkProcess, make_ours

import bcai
from bcai import SDK
from bcai.jobs.settlement import SettlementState
from bcai.sdk.fit import Trained
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

LIAR = """
import sys
if "bcai.cluster.node.training_worker" in sys.orig_argv:
    import bcai.proof.execute as execute
    honest = execute.execute
    def lying(feeder, program, executable, state, *, start=0, stop=None):
        if feeder.run.seed != 666:
            yield from honest(feeder, program, executable, state, start=start, stop=stop)
            return
        for step in honest(feeder, program, executable, state, start=start, stop=6):
            if step.done == 6:
                first = step.state["weights"].copy()
                first.view("u4")[0, 0] ^= 1
                step = step._replace(state={**step.state, "weights": first})
            state = step.state
            yield step
        yield from honest(feeder, program, executable, state, start=6, stop=stop)
    execute.execute = lying
"""
SLOW = """
import sys, time
if "challenge" in sys.orig_argv:
    import bcai.cluster.node.audit as module
    honest = module.audit
    def slow(*arguments):
        print("begun", flush=True)
        time.sleep(600)
        return honest(*arguments)
    module.audit = slow
"""
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(32, 6)).astype(np.float32)
Y = GENERATOR.integers(0, 3, 32)
OPTIONS: dict[str, Any] = {
    "parameters": {"weights": GENERATOR.normal(size=(6, 3)).astype(np.float32)},
    "batch_size": 8,
    "epochs": 4,
    "checkpoint_every": 4,
}


@pytest.fixture(scope="module")
def network_of_liars(
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[NetworkProcess, None, None]:
    folder = tmp_path_factory.mktemp("liars")
    (folder / "sitecustomize.py").write_text(LIAR)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    with NetworkProcess(folder / "home", PYTHONPATH=path) as running:
        yield running


@pytest.fixture
def client(
    network_of_liars: NetworkProcess, monkeypatch: pytest.MonkeyPatch
) -> Generator[SDK, None, None]:
    with SDK(make_ours(network_of_liars, monkeypatch)) as opened:
        yield opened


def program() -> VerifiedProgram:
    build = Builder()
    x, y = build.input("x", "float32[8,6]"), build.input("y", "int64[8]")
    weights = build.parameter("weights", "float32[6,3]")
    loss, *_ = build.emit("CrossEntropy", [x @ weights, y], {})
    return build.finish(loss=loss)


def fit(client: SDK, seed: int, verify: str) -> Trained:
    return bcai.fit(program(), (X, Y), seed=seed, verify=verify, client=client, **OPTIONS)


def test_who_lies_is_named_and_who_does_not_settles(client: SDK) -> None:
    honest, lying = fit(client, 1, "full"), fit(client, 666, "full")
    unchecked = fit(client, 666, "none").result
    plain = client.submit_program(
        program(),
        {"x": X[:8], "y": Y[:8], **OPTIONS["parameters"]},
        verify="full",
    )
    lucky = fit(client, 666, "audited:0.0").result
    assert honest.result.settlement is not None
    assert honest.result.settlement.state is SettlementState.COMMITTED
    assert unchecked.settlement is None
    assert lucky.settlement is not None
    assert lucky.settlement.state is SettlementState.SETTLED

    status, found = challenge_once()
    assert status == 1
    assert set(found) == {honest.result.job_id, lying.result.job_id, plain.job_id}
    for settled in (honest.result, plain):
        assert found[settled.job_id]["state"] == "SETTLED"
        assert found[settled.job_id]["lie"] is None
    named = found[lying.result.job_id]
    assert named["state"] == "DISPUTED"
    assert named["node"] == lying.result.node
    assert named["lie"]["code"] == "steps.state"  # it cannot show steps that end where it said
    assert named["lie"]["checkpoint"] == 1

    known = client.job(lying.result.job_id).result().settlement
    assert known is not None
    assert known.state is SettlementState.DISPUTED
    assert "did not tell the truth: " in known.text
    shown = subprocess.run(
        [sys.executable, "-m", "bcai.cli", "jobs", "show", lying.result.job_id],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "DISPUTED" in shown
    assert challenge_once() == (0, {})


def test_a_challenger_that_is_killed_half_way_loses_nothing(client: SDK, tmp_path: Path) -> None:
    job = fit(client, 2, "full").result
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with start(PYTHONPATH=path) as slow:
        assert slow.stdout is not None
        assert slow.stdout.readline() == "begun\n"
        os.kill(slow.pid, signal.SIGKILL)
    status, found = challenge_once()
    assert status == 0
    assert found[job.job_id]["state"] == "SETTLED"


def test_a_nodes_own_key_does_not_settle_its_work(
    client: SDK, network_of_liars: NetworkProcess
) -> None:
    job = fit(client, 3, "full").result
    identity = json.loads(next(network_of_liars.home.glob("**/network.json")).read_text())
    process = start(
        "--once",
        BCAI_API_KEY=identity["node_key"],
        BCAI_ENDPOINT=str(network_of_liars.endpoint()["url"]),
    )
    _, errors = process.communicate(timeout=120)
    assert f"{job.job_id} (training): not audited: a node's work is not audited with the key" in (
        errors
    )
    assert challenge_once()[1][job.job_id]["state"] == "SETTLED"
