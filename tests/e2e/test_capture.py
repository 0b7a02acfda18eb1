"""Unmodified PyTorch scripts whose operations the node executes: receipts, hostile scripts."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from bcai import SDK
from bcai.base.errors import JobFailedError, JobTimedOutError
from bcai.cli.capture_receipt import check_captured, replay_captured
from bcai.jobs.captured import GIVEN
from bcai.proof.capture_check import check_capture
from bcai.proof.capture_replay import replay_capture
from bcai.proof.evidence import EvidenceClass
from bcai.vm.backends.native.backend import NativeBackend
from bcai.vm.backends.reference.backend import ReferenceBackend

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("jail_of_namespaces"),
    pytest.mark.skipif(find_spec("torch") is None, reason="needs the package torch"),
]

TRAIN = """
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(96, 8)
y = (x[:, 0] > x[:, 1]).long()
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
rows = torch.utils.data.TensorDataset(x, y)
for epoch in range(3):
    for inputs, target in torch.utils.data.DataLoader(rows, batch_size=32, shuffle=True):
        loss = nn.functional.cross_entropy(model(inputs), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
del inputs, target, optimizer, rows
"""
DRAWN = """
import torch
weights = torch.randn(4, 4)
total = (weights @ weights).sum()
"""
EIGEN = """
import torch
x = torch.randn(4, 4)
values = torch.linalg.eigvalsh(x @ x.t())
top = float(values.sum())
"""
HOSTILE = """
import gc, socket
import bcai.bridge.guest.capturing.link as link
[own] = [each for each in gc.get_objects() if isinstance(each, link.SocketLink)]
own.run(0, [77], [1])
try:
    own.fetch(1)
    found = "believed"
except Exception as error:
    found = str(error)
print(found)
"""
FOREVER = """
import torch
x = torch.ones(256, 256)
while True:
    x = (x @ x).tanh()
"""
LARGE = """
import torch
kept = [torch.full((1 << 24,), float(i)) for i in range(18)]
print([float(each[0]) for each in kept])
"""


def test_a_loop_has_an_exact_receipt_that_a_replay_confirms(client: SDK, tmp_path: Path) -> None:
    result = client.create_job(TRAIN, capture=True).submit().wait()
    receipt = result.capture_receipt
    assert result.receipt is None
    assert receipt is not None
    assert receipt.commitment.evidence is EvidenceClass.EXACT
    model = {f"model.{name}": each for name, each in result.outputs["model"].items()}
    tensors = {name: np.asarray(each) for name, each in model.items()}
    report = check_capture(receipt, tensors=tensors)
    assert report.findings == ()
    assert {each.name for each in receipt.commitment.outputs} >= {*tensors, "loss", "x", "y"}
    assert any("'epoch': a plain value" in text for text in report.unchecked)

    content = result.outputs.blob(
        next(each.digest for each in result.outcome.outputs if each.name == GIVEN)  # type: ignore
    )
    given = load(content)
    assert replay_capture(receipt, given, NativeBackend()).difference is None
    assert replay_capture(receipt, given, ReferenceBackend()).difference is None

    again = client.create_job(TRAIN, capture=True).submit().wait().capture_receipt
    assert again is not None
    assert again.commitment.trace == receipt.commitment.trace

    file, data = tmp_path / "receipt.bcai", tmp_path / "given.safetensors"
    file.write_bytes(result.receipt_bytes or b"")
    data.write_bytes(content)
    assert check_captured(file, None, None, None, json=False) == 0
    assert replay_captured(file, data, "reference", json=True) == 0


def test_a_script_that_gave_nothing_is_replayed_with_nothing(client: SDK, tmp_path: Path) -> None:
    result = client.create_job(DRAWN, capture=True).submit().wait()
    assert set(result.outputs) == {"weights", "total"}
    file = tmp_path / "receipt.bcai"
    file.write_bytes(result.receipt_bytes or b"")
    assert replay_captured(file, None, "reference", json=True) == 0


def test_an_operation_without_an_instruction_is_in_the_receipt_with_its_line(client: SDK) -> None:
    receipt = client.create_job(EIGEN, capture=True).submit().wait().capture_receipt
    assert receipt is not None
    assert receipt.commitment.evidence is EvidenceClass.ATTESTED
    expected = "operation aten._linalg_eigh.default: 1 times, job.py:4"
    assert expected in receipt.commitment.unmapped


def test_a_script_that_forges_frames_fails_and_says_why(client: SDK) -> None:
    with pytest.raises(JobFailedError, match=r"program 0: there are 0"):
        client.create_job(HOSTILE, capture=True).submit().wait()


def test_tensors_beyond_the_jobs_memory_fail_with_the_number(client: SDK) -> None:
    job = client.create_job(LARGE, capture=True, limits={"memory": "2GiB"}).submit()
    with pytest.raises(JobFailedError, match=r"the captured tensors need .* 1\.0 GiB"):
        job.wait()


def test_a_captured_job_stops_when_its_time_is_over(client: SDK) -> None:
    with pytest.raises(JobTimedOutError, match=r"longer than its limit of 8\.0 s"):
        client.create_job(FOREVER, capture=True, timeout="8s").submit().wait()
