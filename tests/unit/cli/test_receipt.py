"""Receipts on the command line: checked, shown, replayed, disputed."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from blake3 import blake3
from safetensors.numpy import (
    save_file,  # pyright: ignore[reportUnknownVariableType]
)
from tests.unit.proof.liars import WrongExecutable
from tests.unit.proof.python_words import signed_spec, word
from tests.unit.proof.small_run import NODE, OTHER_NODE, Training, training

from bcai.bridge.tensor_file import TensorFile
from bcai.cli.main import main
from bcai.proof.execute import execute
from bcai.proof.kept_evidence import keep_evidence
from bcai.proof.keys import key_id
from bcai.proof.python_commitment import PythonOutput
from bcai.proof.python_receipt import PythonReceipt, encode_python_receipt
from bcai.proof.receipt import encode_receipt
from bcai.proof.side import ReplayingSide

SMALL = training()
WRONG = WrongExecutable(SMALL.program, 7, len(SMALL.program.program.instructions) - 1)


def outcome(capsys: pytest.CaptureFixture[str], *tokens: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in tokens])
    assert isinstance(ended.value.code, int)
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a client has after a run: receipts, data, the first and the last state."""
    path = tmp_path_factory.mktemp("run")
    (path / "good").write_bytes(encode_receipt(SMALL.receipt()))
    (path / "bad").write_bytes(encode_receipt(SMALL.receipt(OTHER_NODE, executable=WRONG)))
    save_file(dict(SMALL.data.columns), path / "data.safetensors")
    np.savez(path / "first.npz", **SMALL.state)  # pyright: ignore[reportArgumentType]
    steps = [*execute(SMALL.feeder(), SMALL.program, SMALL.compiled(), SMALL.state)]
    save_file(steps[4].state, path / "after5.safetensors")
    (path / "out").mkdir()
    for name in ("w1", "w2"):
        np.save(path / "out" / f"{name}.npy", steps[-1].state[name])
    (path / "out" / "logs.txt").write_text("done")
    return path


def test_an_honest_receipt_checks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = outcome(capsys, "receipt", "check", folder / "good")
    assert status == 0
    assert out.startswith("fits together: 12 steps, 3 checkpoints, evidence exact; ")
    assert "not checked: whether the node computed honestly: replay says so" in out


def test_outputs_are_held_against_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = outcome(
        capsys, "receipt", "check", folder / "good", "--outputs", folder / "out",
        "--node", key_id(NODE.public),
    )  # fmt: skip
    assert (status, "held against what you have: 2 tensors" in out) == (0, True)
    status, out, _ = outcome(
        capsys, "receipt", "check", folder / "bad", "--outputs", folder / "out", "--json",
        "--node", key_id(NODE.public),
    )  # fmt: skip
    document = json.loads(out)
    assert (status, document["clean"]) == (1, False)
    assert {each["name"] for each in document["findings"]} == {"node.key", "received.content"}


def test_a_folder_of_results_has_a_history_and_what_was_saved_beside_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `Trained.save` leaves it: `result.json` names what came from the node."""
    steps = [*execute(SMALL.feeder(), SMALL.program, SMALL.compiled(), SMALL.state)]
    losses = np.stack([step.outputs["loss"] for step in steps])
    save_file(steps[-1].state, tmp_path / "state.safetensors")
    save_file({"loss": losses}, tmp_path / "history.safetensors")
    save_file(dict(SMALL.state), tmp_path / "first_state.safetensors")
    files = {"state": "state.safetensors", "history": "history.safetensors"}
    (tmp_path / "result.json").write_text(json.dumps({"files": files}))
    check = ("receipt", "check", folder / "good", "--outputs", tmp_path)
    status, out, _ = outcome(capsys, *check)
    assert (status, "'loss' of the steps before the last one" in out) == (0, True)
    losses[-1] += 1
    save_file({"loss": losses}, tmp_path / "history.safetensors")
    status, out, _ = outcome(capsys, *check)
    assert (status, "received.content: 'loss'" in out) == (1, True)
    (tmp_path / "result.json").write_text("[]")
    assert "not the record of a result" in outcome(capsys, *check)[2]


def test_what_is_not_there_or_cannot_be_written_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = folder / "good"
    status, _, err = outcome(capsys, "receipt", "show", good, "--html", folder)
    assert (status, "--html" in err, "cannot be written" in err) == (2, True, True)
    status, _, err = outcome(
        capsys, "replay", good, "--data", folder / "first.npz", "--state", folder / "first.npz"
    )
    assert (status, "expected the columns features, label" in " ".join(err.split())) == (2, True)
    assert len(repr(SMALL.receipt())) < 100  # notebooks print it


def test_a_damaged_receipt_and_a_missing_one_are_explained(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut").write_bytes((folder / "good").read_bytes()[:-9])
    status, _, err = outcome(capsys, "receipt", "check", tmp_path / "cut")
    assert (status, "cut off" in err or "ends too early" in err) == (2, True)
    (tmp_path / "text").write_text("hello")
    assert "not a receipt" in outcome(capsys, "receipt", "check", tmp_path / "text")[2]
    assert "there is no file" in outcome(capsys, "receipt", "check", tmp_path / "none")[2]
    bad_key = outcome(capsys, "receipt", "check", folder / "good", "--node", "me")
    assert (bad_key[0], "not a key: 'me'" in bad_key[2]) == (2, True)


def test_a_receipt_is_shown_as_text_and_as_a_page(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = outcome(capsys, "receipt", "show", folder / "good")
    assert status == 0
    assert "batches of 4 of 22 rows, shuffled in every epoch" in out
    assert key_id(NODE.public) in out
    page = tmp_path / "page.html"
    assert outcome(capsys, "receipt", "show", folder / "good", "--html", page)[0] == 0
    text = page.read_text("utf-8")
    assert "Everything fits together" in text
    assert "http" not in text
    assert "<script" not in text


def test_a_page_does_not_run_what_a_node_wrote() -> None:
    from dataclasses import replace

    from tests.unit.proof.small_run import PLACE

    from bcai.cli.receipt_page import receipt_page, receipt_rows
    from bcai.proof.check import check_receipt

    receipt = SMALL.receipt()
    commitment = replace(receipt.commitment, job_id="<script>alert(1)</script>")
    hostile = replace(receipt, commitment=commitment)
    text = receipt_page(hostile, check_receipt(hostile), receipt_rows(hostile, 1))
    assert "<script" not in text
    assert PLACE.job_id not in text


def test_replay_agrees_from_the_start_and_from_a_checkpoint(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = outcome(
        capsys, "replay", folder / "good", "--data", folder / "data.safetensors",
        "--state", folder / "first.npz", "--backend", "native",
    )  # fmt: skip
    assert (status, out.startswith("agrees: 3 checkpoints to the end, on native")) == (0, True)
    status, out, _ = outcome(
        capsys, "replay", folder / "good", "--data", folder / "data.safetensors",
        "--state", folder / "after5.safetensors", "--from", 5, "--backend", "reference", "--json",
    )  # fmt: skip
    document = json.loads(out)
    assert (status, document["agrees"], document["compared"]) == (0, True, 2)


def test_columns_that_the_run_does_not_take_may_be_there(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {**SMALL.data.columns, "other": np.zeros(3)}
    np.savez(tmp_path / "more.npz", **more)  # pyright: ignore[reportArgumentType]
    status, out, _ = outcome(
        capsys, "replay", folder / "good", "--data", tmp_path / "more.npz",
        "--state", folder / "first.npz", "--backend", "reference",
    )  # fmt: skip
    assert (status, out.startswith("agrees")) == (0, True)


def test_replay_names_the_first_checkpoint_that_differs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = outcome(
        capsys, "replay", folder / "bad", "--data", folder / "data.safetensors",
        "--state", folder / "first.npz", "--backend", "reference",
    )  # fmt: skip
    assert status == 1
    assert out.startswith(
        "DIFFERS at checkpoint 1 (steps 5 to 9): outputs and state; 1 of 3 checkpoints agree"
    )


def test_what_replay_lacks_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, state = ("--data", folder / "data.safetensors"), ("--state", folder / "first.npz")
    good = folder / "good"
    assert "--data is missing" in outcome(capsys, "replay", good, *state)[2]
    assert "--state is missing" in outcome(capsys, "replay", good, *data)[2]
    assert (
        "expected a checkpoint's step: a multiple of 5"
        in (outcome(capsys, "replay", good, *data, *state, "--from", 4)[2])
    )
    assert (
        "state: its root is"
        in (outcome(capsys, "replay", good, *data, "--state", folder / "after5.safetensors")[2])
    )
    assert (
        "parameter 'adam.beta1_power' is missing"
        in (outcome(capsys, "replay", good, *data, "--state", folder / "out" / "w1.npy")[2])
    )
    assert (
        "found w1, expected the columns features, label"
        in (outcome(capsys, "replay", good, *state, "--data", folder / "out" / "w1.npy")[2])
    )


def dispute(
    capsys: pytest.CaptureFixture[str], folder: Path, *more: object
) -> tuple[int, str, str]:
    return outcome(
        capsys, "dispute", folder / "bad", folder / "good", "--data", folder / "data.safetensors",
        "--state", folder / "first.npz", "--backend", "reference", *more,
    )  # fmt: skip


def test_a_dispute_says_which_receipt_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = dispute(capsys, folder)
    assert status == 0
    assert out.startswith("WRONG: receipt A, from checkpoint 1 on (steps 5 to 9); replayed on ref")
    assert "give --evidence-a" in out


def test_with_the_nodes_folder_it_says_step_and_instruction(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    liar = ReplayingSide(SMALL.program, SMALL.feeder(), WRONG, SMALL.trace(WRONG), {0: SMALL.state})
    keep_evidence(tmp_path / "kept", liar, 1, 7)
    status, out, _ = dispute(capsys, folder, "--evidence-a", tmp_path / "kept", "--json")
    document: Any = json.loads(out)
    found = document["settled"]["A"]
    assert (status, document["wrong"], found["step"]) == (0, ["A"], 7)
    assert found["place"] == f"instruction {WRONG.position} (AdamStep)"
    assert found["lies"] == {
        "B": {"code": "result", "message": f"{found['place']} does not give this result"}
    }
    assert found["messages"] > 10


def test_evidence_of_the_right_receipt_is_said_to_be_of_no_use(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = dispute(capsys, folder, "--evidence-b", tmp_path)
    assert "not looked at: --evidence-b: that receipt is right here" in out
    _, out, _ = dispute(capsys, folder, "--evidence-b", tmp_path, "--json")
    assert json.loads(out)["unused"] == ["--evidence-b"]


def test_a_folder_without_the_answers_loses(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = dispute(capsys, folder, "--evidence-a", tmp_path)
    assert "does not say where each of 5 steps ends [steps.count]" in out
    liar = ReplayingSide(SMALL.program, SMALL.feeder(), WRONG, SMALL.trace(WRONG), {0: SMALL.state})
    keep_evidence(tmp_path, liar, 1, 7)
    (tmp_path / "step-7.leaves").write_bytes(b"bcai-leaves\x00\x82\x01\x80")
    _, out, err = dispute(capsys, folder, "--evidence-a", tmp_path)
    assert ("[step.size]" in out, err) == (True, "")


def test_receipts_that_cannot_be_disputed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = folder / "good"
    assert "nothing to dispute" in outcome(capsys, "dispute", good, good)[2]
    other: Training = SMALL.with_run(seed=1)
    (tmp_path / "other").write_bytes(encode_receipt(other.receipt()))
    assert "of different runs" in outcome(capsys, "dispute", good, tmp_path / "other")[2]


def test_an_array_that_was_saved_as_it_was_stored_is_held_against_its_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = TensorFile({"value": np.array([1, -2], ml_dtypes.float8_e5m2)}).content()
    said = word(outputs=(PythonOutput("eight", "array", blake3(content).digest()),))
    file = tmp_path / "receipt.bcai"
    file.write_bytes(encode_python_receipt(PythonReceipt(signed_spec(), (said,))))
    (tmp_path / "result.json").write_text('{"files": {"eight": "eight.safetensors"}}')
    (tmp_path / "outputs.json").write_text("{}")
    saved = tmp_path / "eight.safetensors"
    check = ("receipt", "check", file, "--outputs", tmp_path)
    saved.write_bytes(content)
    status, out, _ = outcome(capsys, *check)
    assert (status, "held against what you have: 1 output" in out) == (0, True)
    saved.write_bytes(content[:-1] + b"\0")
    assert outcome(capsys, *check)[0] == 1


def test_outputs_of_another_job_of_python_are_not_taken_for_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "receipt.bcai"
    file.write_bytes(encode_python_receipt(PythonReceipt(signed_spec(), (word(),))))
    (tmp_path / "result.json").write_text('{"files": {}}')
    values = tmp_path / "outputs.json"
    values.write_text('{"loss": 0.25}')
    check = ("receipt", "check", file, "--outputs", tmp_path)
    status, out, _ = outcome(capsys, *check)
    assert (status, "held against what you have: 1 output" in out) == (0, True)
    values.write_text('{"accuracy": 0.25}')
    status, _, error = outcome(capsys, *check)
    assert (status, "found accuracy, expected outputs of the receipt" in error) == (2, True)
