"""Results that are audited: a node that lies is named, an honest one settles, a kill loses nothing.

The node's training worker is made to lie from outside, by a module that Python imports first: the
product has no switch for it. It flips one bit of the state in runs of seed 666, then goes on; in
runs of seed 668 one of the state that it hands in, after it has signed.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.e2e.challenger import WAIT_S, challenge_once, settlement, start
from tests.e2e.network_process import NetworkProcess, make_ours
from tests.e2e.small_training import fit, inputs, program

from bcai import SDK
from bcai.jobs.settlement import SettlementState
from bcai.proof.agreement import read_agreement
from bcai.proof.keys import key_id

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

    import bcai.cluster.node.receipts as receipts
    from pathlib import Path
    sign = receipts.leave_receipt
    def swapping(folder, run, *arguments, **named):
        receipt = sign(folder, run, *arguments, **named)
        if run.seed == 668:
            file = Path(folder) / "outputs" / "state.safetensors"
            content = bytearray(file.read_bytes())
            content[-1] ^= 1
            file.write_bytes(content)
        return receipt
    receipts.leave_receipt = swapping
"""
LAZY = """
import sys
if "challenge" in sys.orig_argv:
    import bcai.cluster.node.audit as module
    from bcai.base.merkle import TreeHead
    from bcai.proof.receipt import decode_receipt
    def lazy(job_id, spec, outcome, blobs, *others):
        trace = decode_receipt(blobs[outcome.receipt]).trace
        count, made_up = len(trace.checkpoints), TreeHead(5, bytes(32))
        return module.AuditReport(None, count, trace=trace.head, last_step=made_up)
    module.audit = lazy
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


def test_who_lies_is_named_and_who_does_not_settles(client: SDK) -> None:
    honest, lying = fit(client, 1), fit(client, 666)
    unchecked = fit(client, 666, "none").result
    plain = client.submit_program(program(), inputs(1, 0), verify="full")
    swapped = fit(client, 668).result
    lucky = fit(client, 666, "audited:0.0").result
    assert honest.result.settlement is not None
    assert honest.result.settlement.state is SettlementState.COMMITTED
    assert unchecked.settlement is None
    assert lucky.settlement is not None
    assert lucky.settlement.state is SettlementState.SETTLED

    status, found = challenge_once()
    assert status == 1
    assert set(found) == {
        honest.result.job_id, lying.result.job_id, plain.job_id, swapped.job_id,
    }  # fmt: skip
    for settled in (honest.result, plain):
        assert found[settled.job_id]["state"] == "SETTLED"
        assert found[settled.job_id]["lie"] is None
    named = found[lying.result.job_id]
    assert named["state"] == "DISPUTED"
    assert named["node"] == lying.result.node
    assert named["lie"]["code"] == "steps.state"  # it cannot show steps that end where it said
    assert named["lie"]["checkpoint"] == 1

    other = found[swapped.job_id]
    assert (other["state"], other["lie"]["code"]) == ("DISPUTED", "outputs.delivered")
    assert (other["dispute"]["faulty"], other["dispute"]["messages"]) == (["node"], 0)

    (voucher,) = settlement(client, honest.result.job_id).vouchers
    signed = read_agreement(voucher.agreement)
    assert signed.is_signed
    assert key_id(signed.agreement.challenger) == voucher.key
    assert honest.result.receipt is not None
    assert signed.agreement.trace == honest.result.receipt.trace.head

    known = settlement(client, lying.result.job_id)
    assert known.state is SettlementState.DISPUTED
    assert known.vouchers == ()
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
    job = fit(client, 2).result
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with start(PYTHONPATH=path) as slow:
        assert slow.stdout is not None
        assert slow.stdout.readline() == "begun\n"
        os.kill(slow.pid, signal.SIGKILL)
    status, found = challenge_once()
    assert status == 0
    assert found[job.job_id]["state"] == "SETTLED"


def test_who_vouches_without_having_done_it_is_named(
    client: SDK, network_of_liars: NetworkProcess, tmp_path: Path
) -> None:
    honest, lying = fit(client, 4).result, fit(client, 666).result
    (tmp_path / "sitecustomize.py").write_text(LAZY)
    endpoint = network_of_liars.endpoint()
    lazy = {
        "BCAI_HOME": str(tmp_path),  # another key to sign with
        "BCAI_ENDPOINT": str(endpoint["url"]),
        "BCAI_API_KEY": str(endpoint["api_key"]),
    }
    status, found = challenge_once(str(tmp_path), **lazy)
    assert status == 0
    assert {found[each.job_id]["state"] for each in (honest, lying)} == {"SETTLED"}

    process = start("--job", honest.job_id)
    _, errors = process.communicate(timeout=WAIT_S)
    said = " ".join(errors.split())
    assert process.returncode == 0
    assert "signed that it has done this job again, and has not" in said
    known = settlement(client, honest.job_id)
    assert (known.state, len(known.vouchers)) == (SettlementState.SETTLED, 2)
    assert known.vouchers[0].key in said

    process = start("--job", lying.job_id)
    process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    known = settlement(client, lying.job_id)
    assert (known.state, len(known.vouchers)) == (SettlementState.DISPUTED, 1)
    assert f"vouched for by {known.vouchers[0].by}" in known.text


def test_a_nodes_own_key_does_not_settle_its_work(
    client: SDK, network_of_liars: NetworkProcess
) -> None:
    job = fit(client, 3).result
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
