"""`bcai.fit` in a script that is a job: the bits of `bcai.fit` outside, and the node's receipt."""

from pathlib import Path

import pytest

from bcai import SDK
from bcai.proof.check import check_receipt

pytestmark = pytest.mark.usefixtures("jail_of_namespaces")

TRAIN = """
import torch
from torch import nn

import bcai

torch.manual_seed(0)
x = torch.randn(128, 8)
y = (x[:, 0] > x[:, 1]).long()
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
trained = bcai.fit(model, (x, y), loss="cross_entropy", epochs=5, learning_rate=0.01, seed=1)
final = trained.trace.final_state.hex()
"""
WITHIN = """
scores = trained.predict(x)
said = bcai.to_torch(trained).eval()(x).detach().numpy()
difference = float(abs(said - scores).max())
accuracy = trained.evaluate((x, y))["accuracy"]
files = sorted(path.name for path in trained.save("kept").values())
try:
    bcai.fit(model, (x, y), loss="cross_entropy")
except bcai.JobFailedError as error:
    second = str(error)
try:
    bcai.fit(model, (x, y), loss="cross_entropy", resume=trained)
except bcai.InputError as error:
    resumed = str(error)
try:
    trained.result
except bcai.InputError as error:
    result = str(error)
"""


def test_a_script_trains_to_the_bits_of_the_same_lines_outside(client: SDK, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    result = client.create_job(TRAIN + WITHIN).submit().wait()
    values = {name: result.outputs[name] for name in result.outputs}
    assert values["difference"] < 1e-4
    assert values["accuracy"] > 0.8
    assert sorted(values["trained"]) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    assert values["files"] == [
        *("first_state.safetensors", "history.safetensors", "receipt.bcai"),
        *("rows.safetensors", "state.safetensors"),
    ]
    assert "a job has one training" in values["second"]
    assert values["resumed"].startswith("resume: a job has one training")
    assert values["result"].startswith("result: trained within a job")
    assert result.metrics[-1]["step"] == 19
    receipt = result.receipt
    assert receipt is not None
    assert not check_receipt(receipt).findings
    assert receipt.trace.final_state.hex() == values["final"]
    assert (result.save(tmp_path)["receipt"]).is_file()

    outside: dict[str, object] = {}
    exec(compile(TRAIN, "train.py", "exec"), outside)
    assert outside["final"] == values["final"]
