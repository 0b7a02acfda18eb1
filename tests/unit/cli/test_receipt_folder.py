"""Receipts with what lies beside them: a folder stands for all of its files."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import (
    save_file,  # pyright: ignore[reportUnknownVariableType]
)
from tests.unit.cli.test_receipt import SMALL, WRONG, outcome
from tests.unit.proof.small_run import OTHER_NODE

from bcai.proof.execute import execute
from bcai.proof.kept_evidence import keep_evidence
from bcai.proof.receipt import encode_receipt
from bcai.proof.side import ReplayingSide


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder as a node, or `Trained.save`, leaves it."""
    path = tmp_path / "kept"
    path.mkdir()
    (path / "receipt.bcai").write_bytes(encode_receipt(SMALL.receipt()))
    save_file(dict(SMALL.data.columns), path / "rows.safetensors")
    save_file(dict(SMALL.state), path / "first_state.safetensors")
    return path


def test_a_folder_is_replayed(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = outcome(capsys, "replay", kept, "--backend", "reference")
    assert (status, out[:29]) == (0, "agrees: 3 checkpoints to the ")


def test_a_folder_of_a_run_that_was_continued_starts_where_its_state_is(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (kept / "first_state.safetensors").unlink()
    steps = [*execute(SMALL.feeder(), SMALL.program, SMALL.compiled(), SMALL.state)]
    (kept / "states").mkdir()
    state = {f"state/{name}": each for name, each in steps[4].state.items()}
    save_file(state, kept / "states" / "5.safetensors")
    status, out, _ = outcome(capsys, "replay", kept, "--backend", "reference", "--json")
    document = json.loads(out)
    assert (status, document["agrees"], document["first_checkpoint"]) == (0, True, 1)


def test_what_a_folder_lacks_is_named(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (kept / "rows.safetensors").unlink()
    status, _, err = outcome(capsys, "replay", kept)
    assert (status, "with rows.safetensors beside the receipt" in " ".join(err.split())) == (
        2,
        True,
    )
    status, _, err = outcome(capsys, "replay", tmp_path)
    assert (status, "there is no receipt.bcai in" in err) == (2, True)


def test_folders_are_disputed_down_to_the_instruction(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(kept, other)
    (other / "receipt.bcai").write_bytes(
        encode_receipt(SMALL.receipt(OTHER_NODE, executable=WRONG))
    )
    lie = SMALL.trace(WRONG)
    side = ReplayingSide(SMALL.program, SMALL.feeder(), WRONG, lie, {0: SMALL.state})
    keep_evidence(other, side, 1, 7)
    status, out, _ = outcome(capsys, "dispute", kept, other, "--backend", "reference")
    assert status == 0
    assert out.startswith("WRONG: receipt B, from checkpoint 1 on")
    assert "B: step 7, instruction" in out


def test_a_node_keeps_one_step_of_its_own(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "evidence"
    replay = ("replay", kept, "--backend", "reference", "--keep", target)
    status, out, _ = outcome(capsys, *replay, "--step", 7)
    assert (status, "checkpoint-1.steps, step-7.leaves" in " ".join(out.split())) == (0, True)
    assert {file.name for file in target.iterdir()} == {"checkpoint-1.steps", "step-7.leaves"}
    assert "--step is missing" in outcome(capsys, *replay)[2]
    assert "--step: found 12, expected 0 to 11" in outcome(capsys, *replay, "--step", 12)[2]
