"""Tensors in and out of a real jail, at every level: read in place, never changed, copied out."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from bcai.bridge.sandbox.inputs import sealed_tensors
from bcai.bridge.sandbox.jail import Cause, JailExit, JailRequest
from bcai.bridge.sandbox.launcher import launch
from bcai.bridge.sandbox.probe import probe_jail
from bcai.bridge.sandbox.warm import ZygotePool
from bcai.bridge.tensor_views import arrays_of

from .jails import LIMITS
from .test_ordinary_user import NOBODY, only_as_root, run_apart

TENSORS: dict[str, Any] = {
    "x": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.array([1.5, -2], ml_dtypes.bfloat16),
    "flags": np.array([True, False]),
    "none": np.zeros((0, 4), np.int64),
    "number": np.array(7.0),
    "large": np.arange(1 << 18, dtype=np.float64),
}
CODE = """
import fcntl, os
import bcai
names = sorted(bcai.inputs)
x = bcai.inputs["x"]
doubled = x * 2
x += 100  # in a copy of its own pages
kept = bcai.inputs["large"]  # as it came: no result
summed = float(kept.sum())
changed = bcai.inputs["large"]
found = {name: [str(value.dtype), list(value.shape)] for name, value in bcai.inputs.items()}
flags, number = bcai.inputs["flags"] == False, bcai.inputs["number"] + 1
refused = []
write, cut = lambda place: os.pwrite(5, b"x", place), lambda: os.ftruncate(5, 0)
for act in (lambda: write(0), lambda: write(1 << 40), cut):
    try:
        act()
    except OSError as error:
        refused.append(error.errno)
"""
TORCH = """
import torch, bcai
x = torch.from_dlpack(bcai.inputs["x"])
half = torch.from_dlpack(bcai.inputs["half"])
back = half * 2
y = (x @ x.T).to(torch.bfloat16)
state = {"w": x, "b": half}
"""


@pytest.fixture(params=["A-cold", "A-warm", "B-cold", "B-warm", "C-cold"])
def start(request: pytest.FixtureRequest) -> tuple[str, ZygotePool | None]:
    level, _, how = str(request.param).partition("-")
    report = probe_jail(level)
    if report.level != level:
        pytest.skip(f"no level {level} on this machine: " + "; ".join(report.missing))
    return level, request.getfixturevalue("zygotes") if how == "warm" else None


def run(
    folder: Path, start: tuple[str, ZygotePool | None], code: str
) -> tuple[JailExit, dict[str, Any]]:
    """Run code on the tensors; what came out, by name: arrays, or plain values."""
    level, zygotes = start
    (folder / "job.py").write_text(code)
    asked = "standard" if level == "C" else "high"
    request = JailRequest(folder, "job.py", None, (), LIMITS, security_level=asked)
    with sealed_tensors(TENSORS) as file:
        request = replace(request, inputs=file)
        ended = launch(request, lambda event: None, threading.Event(), zygotes, level_max=level)
    assert (ended.cause, ended.exit_status, ended.warnings) == (Cause.EXITED, 0, ()), ended
    assert (ended.jail.level, ended.jail.start) == (level, "warm" if zygotes else "cold")
    found = {each.name: each.value for each in ended.outputs if each.kind == "value"}
    for each in ended.outputs:
        if each.content is not None:
            arrays = arrays_of(each.content)
            found[each.name] = arrays if each.kind == "state_dict" else arrays["value"]
    return ended, found


def test_tensors_go_in_and_come_out(tmp_path: Path, start: tuple[str, ZygotePool | None]) -> None:
    before = {name: array.tobytes() for name, array in TENSORS.items()}
    ended, found = run(tmp_path, start, CODE)
    assert found["names"] == sorted(TENSORS)
    np.testing.assert_array_equal(found["doubled"], TENSORS["x"] * 2)
    np.testing.assert_array_equal(found["flags"], [False, True])
    assert (found["number"], found["summed"]) == (8.0, float(TENSORS["large"].sum()))
    assert found["found"]["x"] == ["float32", [2, 3]]
    assert found["found"]["none"] == ["int64", [0, 4]]
    # One that is changed in place is a result, one that is left as it came is none.
    np.testing.assert_array_equal(found["x"], TENSORS["x"] + 100)
    assert not {"kept", "changed"} & {each.name for each in ended.outputs}
    assert found["refused"] == [1, 1, 1]  # EPERM, of the seals
    assert {name: array.tobytes() for name, array in TENSORS.items()} == before


def test_torch_reads_them_in_place(tmp_path: Path, start: tuple[str, ZygotePool | None]) -> None:
    pytest.importorskip("torch", reason="needs the extra `ml`")
    _, found = run(tmp_path, start, TORCH)
    assert found["back"].dtype == ml_dtypes.bfloat16
    assert found["back"].tolist() == [3.0, -4.0]
    assert found["y"].tolist() == (TENSORS["x"] @ TENSORS["x"].T).tolist()
    assert found["state"].keys() == {"w", "b"}


@only_as_root
@pytest.mark.parametrize("user", [0, NOBODY], ids=["root", "ordinary user"])
def test_level_c_with_a_python_that_everybody_may_read(tmp_path: Path, user: int) -> None:
    run_apart(tmp_path, user, "-k", "C-cold", "test_inputs.py")
