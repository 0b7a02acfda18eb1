"""`bcai.fit` where it goes wrong, or nobody waits for it."""

import logging
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.e2e.network_process import NetworkProcess

import bcai
from bcai import SDK, JobCancelledError
from bcai.sdk import notices
from bcai.vm.program.builder import Builder
from bcai.vm.program.program import VerifiedProgram

X = np.ones((64, 4), np.float32)
Y = np.ones((64, 1), np.float32)
WEIGHTS = {"w": np.ones((4, 1), np.float32)}
SCRIPT = """
import bcai
from tests.e2e.test_fit_edges import WEIGHTS, X, Y, line
bcai.fit(line(), (X, Y), batch_size=8, parameters=WEIGHTS, epochs=500_000, name="a script's",
         on_step=lambda done, steps, values: print(done, flush=True))
"""


def line() -> VerifiedProgram:
    build = Builder()
    x, y = build.input("x", "float32[8,4]"), build.input("y", "float32[8,1]")
    error = x @ build.parameter("w", "float32[4,1]") - y
    return build.finish(loss=(error * error).sum())


@pytest.fixture(autouse=True)
def unheard(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(notices, "_seen", set[str]())
    caplog.set_level(logging.WARNING)


def test_a_loss_that_overflows_is_told_with_the_step(
    client: SDK, caplog: pytest.LogCaptureFixture
) -> None:
    trained = bcai.fit(
        line(), (X, Y), batch_size=8, parameters=WEIGHTS, epochs=5, optimizer="sgd",
        learning_rate=10.0, client=client,
    )  # fmt: skip
    first = int(np.flatnonzero(~np.isfinite(trained.losses))[0])
    assert 0 < first < 39
    (said,) = [each for each in caplog.messages if "loss" in each]
    assert f"step {first} of 40: loss is {trained.losses[first]}" in said


def test_a_loss_that_overflows_ends_the_job_if_that_was_asked_for(client: SDK) -> None:
    with pytest.raises(JobCancelledError, match=r"step \d+ of 4000000: loss is inf") as info:
        bcai.fit(
            line(), (X, Y), batch_size=8, parameters=WEIGHTS, epochs=500_000, optimizer="sgd",
            learning_rate=10.0, client=client, stop_on_nan=True,
        )  # fmt: skip
    assert info.value.result is not None
    assert info.value.result.status == "CANCELLED"


def test_a_training_that_nobody_waits_for_goes_on(client: SDK) -> None:
    pending = bcai.submit_fit(line(), (X, Y), batch_size=8, parameters=WEIGHTS, client=client)
    assert pending.id.startswith("job_")
    trained = pending.result(timeout=60)
    assert (pending.status, pending.progress) == ("SUCCEEDED", 100)
    same = bcai.fit(line(), (X, Y), batch_size=8, parameters=WEIGHTS, client=client)
    assert trained.trace == same.trace
    assert math.isclose(trained.losses[-1], same.losses[-1], rel_tol=0)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_script_that_is_ended_takes_its_training_along(
    client: SDK, shared_network: NetworkProcess, tmp_path: Path, sign: signal.Signals
) -> None:
    environment = {
        **os.environ,
        "BCAI_HOME": str(shared_network.home),
        "PYTHONPATH": str(Path.cwd()),
    }
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, env=environment, cwd=tmp_path
    ) as script:
        assert script.stdout is not None
        assert int(script.stdout.readline()) > 0
        script.send_signal(sign)
        script.stdout.read()
        assert script.wait(60) == {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: 143}[sign]
    job = next(each for each in client.list_jobs() if each.name == "a script's")
    ends_at = time.monotonic() + 60
    while job.status not in ("CANCELLED", "SUCCEEDED") and time.monotonic() < ends_at:
        time.sleep(0.05)
    assert job.status == "CANCELLED"
