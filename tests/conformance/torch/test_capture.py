"""Captured scripts compute what torch computes, to the same bits on every machine and thread."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

MODELS = Path(__file__).with_name("capture_models.py")
OFTEN = Path(__file__).with_name("capture_often.py")
UNUSUAL = Path(__file__).with_name("capture_unusual.py")
STRIDES = Path(__file__).with_name("capture_strides.py")
TIMEOUT_S = 600
RTOL = 5e-4


def captured(script: Path, *, threads: int = 1, backend: str = "native") -> dict[str, Any]:
    """What a script finds, and what was recorded of it."""
    module = "tests.conformance.torch.captured_script"
    command = [sys.executable, "-m", module, str(threads), str(script), backend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def written(folder: Path, text: str) -> Path:
    path = folder / "train.py"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return captured(MODELS)


@pytest.fixture(scope="module")
def alone() -> dict[str, list[float]]:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(MODELS.read_text(), str(MODELS), "exec"), names)
    return names["found"]


def test_loops_come_to_the_weights_of_torch(
    models: dict[str, Any], alone: dict[str, list[float]]
) -> None:
    assert models["found"].keys() == alone.keys()
    for name, expected in alone.items():
        np.testing.assert_allclose(
            models["found"][name], expected, rtol=RTOL, atol=RTOL, err_msg=name
        )


def test_every_operation_of_them_is_an_instruction(models: dict[str, Any]) -> None:
    assert models["unmapped"] == []
    assert models["origins"] == []
    assert models["said"] == []


def test_common_scripts_come_to_the_values_of_torch_by_instructions_alone() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(OFTEN.read_text(), str(OFTEN), "exec"), names)
    recorded = captured(OFTEN)
    assert recorded["said"] == []
    assert recorded["unmapped"] == []
    assert recorded["found"].keys() == names["found"].keys()
    for name, expected in names["found"].items():
        np.testing.assert_allclose(
            recorded["found"][name], expected, rtol=RTOL, atol=RTOL, err_msg=name
        )


@pytest.fixture(scope="module")
def unusual() -> dict[str, Any]:
    return captured(UNUSUAL)


def test_unusual_scripts_come_to_the_values_of_torch(unusual: dict[str, Any]) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(UNUSUAL.read_text(), str(UNUSUAL), "exec"), names)
    assert unusual["said"] == []
    assert unusual["found"].keys() == names["found"].keys()
    for name, expected in names["found"].items():
        np.testing.assert_allclose(
            unusual["found"][name], expected, rtol=RTOL, atol=RTOL, err_msg=name
        )


def test_what_they_leave_to_torch_is_said_and_nothing_else(unusual: dict[str, Any]) -> None:
    lines = UNUSUAL.read_text().splitlines()
    starts = [n for n, line in enumerate(lines, 1) if line.startswith("@script")]
    names = [line.split()[1].split("(")[0] for line in lines if line.startswith("def ")]
    scripts = [name for name in names if name in unusual["found"]]
    left: set[str] = set()
    for _, place, _ in unusual["unmapped"]:
        file, _, number = place.rpartition(":")
        at = sum(start <= int(number) for start in starts) if file == str(UNUSUAL) else 0
        left.add(scripts[at - 1] if at else "sparse")  # the loop that all share
    assert left == {"views", "complexes", "sparse"}
    assert any("to_sparse_csr" in op for op, _, _ in unusual["unmapped"])


DRAWS = """
import torch
from torch import nn
torch.manual_seed(3)
x = torch.randn(64, 1, 8, 8)
y = (x.mean((1, 2, 3)) > 0).long()
model = nn.Sequential(
    nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(),
    nn.Linear(144, 2),
)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
rows = torch.utils.data.TensorDataset(x, y)
losses = []
for epoch in range(2):
    for inputs, target in torch.utils.data.DataLoader(rows, batch_size=16, shuffle=True):
        loss = nn.functional.cross_entropy(model(inputs), target)
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        losses.append(loss.item())
mean, spread = float(x.mean()), float(x.std())
torch.manual_seed(3)
again = bool((torch.randn(64, 1, 8, 8) == x).all())
torch.manual_seed(4)
other = bool((torch.randn(64, 1, 8, 8) == x).all())
print(x[0, 0], model)
found = {"losses": losses, "mean": mean, "spread": spread, "again": again, "other": other}
"""


def test_draws_follow_the_scripts_seed_and_bits_do_not_depend_on_threads(tmp_path: Path) -> None:
    script = written(tmp_path, DRAWS)
    one, two = captured(script), captured(script, threads=2)
    assert one == two
    assert one["unmapped"] == []
    found = one["found"]
    assert abs(found["mean"]) < 0.1
    assert abs(found["spread"] - 1) < 0.1
    assert found["again"]
    assert not found["other"]
    assert np.mean(found["losses"][-4:]) < np.mean(found["losses"][:4])
    assert captured(script, backend="reference")["root"] == one["root"]


WEIGHTED = """
import torch
torch.manual_seed(5)
weights = torch.tensor([[0.0, 1.0, 2.0, 5.0, 0.0]])
rows = weights.expand(4000, 5).double().div(8).float()
once = torch.multinomial(rows, 1)
often = torch.multinomial(weights[0], 4000, replacement=True)
all_three = torch.multinomial(rows, 3)
named = torch.distributions.Categorical(probs=rows).sample()
mean = torch.tensor([1.0, -2.0]).expand(4000, 2)
normal = torch.distributions.Normal(mean, 0.5).sample()
def shares(drawn):
    return torch.bincount(drawn.reshape(-1), minlength=5).div(drawn.numel()).tolist()
torch.manual_seed(5)
again = torch.multinomial(rows, 1)
found = {"shares": [shares(each) for each in (once, often, all_three[:, 0], named)],
         "all": all_three.sort(1).values.unique(dim=0).tolist(),
         "normal": [*normal.mean(0).tolist(), *normal.std(0).tolist()],
         "again": bool((once == again).all())}
"""


def test_draws_by_weight_have_their_shares_and_are_instructions(tmp_path: Path) -> None:
    recorded = captured(written(tmp_path, WEIGHTED))
    left = {op for op, _, _ in recorded["unmapped"]}
    assert left <= {"aten.bincount.default", "aten.unique_dim.default"}  # of the check
    found = recorded["found"]
    for shares in found["shares"]:
        assert [shares[0], shares[4]] == [0, 0]
        np.testing.assert_allclose(shares[1:4], [0.125, 0.25, 0.625], atol=0.03)
    assert found["all"] == [[1, 2, 3]]
    np.testing.assert_allclose(found["normal"], [1, -2, 0.5, 0.5], atol=0.05)
    assert found["again"]


BY_RULES = """
from bcai.bridge.guest.capturing.recipe import Recipes
Recipes.keep = lambda *_: None
"""


def test_what_is_written_again_is_what_the_rules_write(tmp_path: Path) -> None:
    again = captured(written(tmp_path, DRAWS))
    by_rules = captured(written(tmp_path, BY_RULES + DRAWS))
    assert again["root"] == by_rules["root"]
    assert again["programs"] == by_rules["programs"]


ALIKE = """
import torch
def both(x, y): return (x - 2 * y).sum()
found = []
for _ in range(3):
    x, y = torch.arange(4.), torch.ones(4)
    found += [float(both(x, y)), float(both(x, x)), float((x * x).sum()), float((x * y).sum())]
    for zero in (0.0, -0.0):
        found.append(float((1 / torch.full((2,), zero))[0]))
        found.append(float((1 / (x.clamp(max=0) * 0 + zero)).max()))
    x.requires_grad_()
    (x * x).sum().backward()
    (x * x.detach()).sum().backward()
    found += x.grad.tolist()
    found += [float((x.detach() * rate).sum()) for rate in (0.1, 0.2, 1, True, 1.0)]
"""


def test_calls_that_are_nearly_alike_are_told_apart(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(compile(ALIKE, "train.py", "exec"), names)
    np.testing.assert_allclose(
        captured(written(tmp_path, ALIKE))["found"], names["found"], rtol=1e-6
    )


ALIASES = """
import copy, io
import numpy as np
import torch
x = torch.arange(24.).reshape(4, 6)
row, column, turned = x[1], x[:, 2], x.t()
row += 100
column.mul_(2)
turned[5, 3] = -1
x[0:2, 1:4] = 7
x[::2, ::3] = 0.5
x.diagonal().zero_()
flat = x.view(-1)
flat[3:5].fill_(9)
numbers = np.zeros(3, "f")
shared = torch.from_numpy(numbers)
before = (shared + 1).sum().item()
numbers[:] = 5
after = (shared + 1).sum().item()
kept = copy.deepcopy(x)
kept[0, 0] = 42
buffer = io.BytesIO()
torch.save(x, buffer)
buffer.seek(0)
loaded = torch.load(buffer)
try:
    x.clone().numpy()[0, 0] = 1
    refused = False
except ValueError:
    refused = True
found = [x.tolist(), row.tolist(), column.tolist(), turned.tolist(), before, after,
         kept.tolist(), loaded.tolist(), np.asarray(x).tolist(), float(x[kept > 8].sum())]
"""


def test_views_share_what_is_written(tmp_path: Path) -> None:
    script = written(tmp_path, ALIASES + "found.append(refused)")
    names: dict[str, Any] = {}
    exec(compile(ALIASES, "train.py", "exec"), names)
    assert captured(script, backend="reference")["found"] == [*names["found"], True]


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_results_lie_in_memory_as_torch_lays_them(backend: str) -> None:
    names: dict[str, Any] = {}
    exec(compile(STRIDES.read_text(), str(STRIDES), "exec"), names)
    recorded = captured(STRIDES, backend=backend)
    assert recorded["unmapped"] == []
    assert recorded["found"] == names["found"]


UNMAPPED = """
import torch
x = torch.randn(6, 6)
square = x @ x.t() + 6 * torch.eye(6)
values = torch.linalg.eigvalsh(square)
top = values.max()
places = torch.nonzero(x > 0)
found = [float(top), len(places), float((square @ square).sum())]
"""


def test_what_has_no_instruction_is_named_with_its_line(tmp_path: Path) -> None:
    recorded = captured(written(tmp_path, UNMAPPED), backend="reference")
    lines = {op: Path(place).name for op, place, _ in recorded["unmapped"]}
    assert lines == {
        "aten._linalg_eigh.default": "train.py:5",
        "aten.nonzero.default": "train.py:7",
    }
    assert any("_linalg_eigh" in each and "train.py:5" in each for each in recorded["origins"])


LARGE = """
import torch
kept = [torch.ones(1 << 26) * i for i in range(8)]
try:
    print(float(sum(each[0] for each in kept)))
    found = "went on"
except Exception as error:
    found = f"{type(error).__name__}: {error}"
"""


def test_tensors_beyond_the_limit_are_refused_with_the_number(tmp_path: Path) -> None:
    recorded = captured(written(tmp_path, LARGE))
    assert "JobFailedError: capture: the captured tensors need" in recorded["found"]
    assert "1.0 GiB" in recorded["found"]


INDICES = """
import torch
from torch.nn import functional as F
w = torch.arange(12.).reshape(4, 3)
i = torch.tensor([0, 9, 1])
rows = torch.utils.data.TensorDataset(w, torch.tensor([0, 2, 1, 3]))
def trained():
    for x, y in torch.utils.data.DataLoader(rows, batch_size=2):
        loss = F.cross_entropy(x, y)
    return loss
calls = {
    "embedding": lambda: F.embedding(i, w),
    "index_select": lambda: w.index_select(0, i),
    "index": lambda: w[i],
    "from the end": lambda: w[torch.tensor([-5])],
    "computed": lambda: w[:, i.clamp(max=2) + 1],
    "index_put": lambda: w.clone().__setitem__(i, 1.0),
    "gather": lambda: w.gather(0, i[None]),
    "scatter_": lambda: w.clone().scatter_(0, i[None], 1.0),
    "index_add": lambda: w.index_add(0, i, w[:3]),
    "take": lambda: w.take(torch.tensor([99])),
    "nll": lambda: F.cross_entropy(w, torch.tensor([0, 1, 3, 1])),
    "batches": trained,
    "within": lambda: w[torch.tensor([-4, 3])] * w.gather(1, torch.tensor([[0], [2]])),
    "ignored": lambda: F.nll_loss(w, torch.tensor([0, 1, -100, 2])),
    "masked": lambda: w[torch.tensor([True, False, True, False])],
}
found = {}
for name, call in calls.items():
    try:
        found[name] = call().tolist()
    except (IndexError, RuntimeError) as error:
        found[name] = f"{type(error).__name__}: {error}"
"""


def test_an_index_that_is_none_is_torchs_own_error_at_the_call(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(compile(INDICES, "train.py", "exec"), names)
    recorded = captured(written(tmp_path, INDICES), backend="reference")
    assert recorded["said"] == []
    assert {op for op, _, _ in recorded["unmapped"]} <= {"aten.nonzero.default"}  # of the mask
    assert recorded["found"] == names["found"]


DRAWN_INDICES = """
import torch
w = torch.randn(4, 3)
i = torch.randint(5, 9, (3,))
rows = w[i]
errors = []
for _ in range(2):
    try:
        errors.append(rows.sum().item())
    except Exception as error:
        errors.append(f"{error} / {error.hint}")
found = errors
"""


def test_an_index_that_only_the_node_knows_ends_the_capture_with_value_range_and_line(
    tmp_path: Path,
) -> None:
    recorded = captured(written(tmp_path, DRAWN_INDICES), backend="reference")
    first, again = recorded["found"]
    assert re.search(r"Index: index [5-8] is outside an axis of size 4 \(by aten", first)
    assert "aten.index.Tensor at" in first
    assert "train.py:5)" in first
    assert "read the indices before" in first
    assert "is outside an axis" in again


WRONG = """
import torch
try:
    torch.ones(2, 3) @ torch.ones(2, 3)
    found = "went on"
except RuntimeError as error:
    found = str(error)
"""


def test_errors_of_the_script_are_torchs_own(tmp_path: Path) -> None:
    recorded = captured(written(tmp_path, WRONG), backend="reference")
    assert "cannot be multiplied" in recorded["found"]
    assert recorded["unmapped"] == []
