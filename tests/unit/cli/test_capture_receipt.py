"""Receipts of captured scripts on the terminal: which are refused, and folders with one."""

from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from blake3 import blake3
from safetensors.numpy import save, save_file  # pyright: ignore[reportUnknownVariableType]
from tests.unit.cli.test_receipt import SMALL, outcome
from tests.unit.proof.captured_run import captured

from bcai.base.errors import InputError
from bcai.bridge.tensor_file import TensorFile
from bcai.cli.capture_dispute import dispute_captured
from bcai.cli.capture_receipt import replay_captured
from bcai.cli.receipt_page import row_of
from bcai.proof.capture_receipt import CaptureReceipt, encode_capture
from bcai.proof.commitment import OutputHash
from bcai.proof.receipt import encode_receipt


def written(file: Path, receipt: CaptureReceipt) -> Path:
    file.write_bytes(encode_capture(receipt))
    return file


def test_a_receipt_without_its_programs_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    honest = captured().receipt
    whole = written(tmp_path / "whole.bcai", honest)
    torn = written(tmp_path / "torn.bcai", replace(honest, programs=()))
    with pytest.raises(InputError, match=r"torn\.bcai does not fit together.*not enclosed"):
        replay_captured(torn, None, "reference", json=False)
    files = {"A": whole, "B": torn}
    none = {"A": None, "B": None}
    with pytest.raises(InputError, match=r"torn\.bcai does not fit together"):
        dispute_captured(files, none, None, "reference", none, json=False)
    with pytest.raises(InputError, match="--data is missing"):  # and the whole one is not
        replay_captured(whole, None, "reference", json=False)


def test_what_a_replay_would_not_heed_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "receipt.bcai", captured().receipt)
    status, _, error = outcome(capsys, "replay", file, "--step", "3")
    assert (status, "--step: the receipt is of a captured script" in error) == (2, True)


def test_a_folder_stands_for_its_receipt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path / "receipt.bcai", captured().receipt)
    for command in ("check", "show"):
        status, out, _ = outcome(capsys, "receipt", command, tmp_path)
        assert (status, "exact" in out) == (0, True)


def test_receipts_of_two_kinds_are_no_dispute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "captured.bcai", captured().receipt)
    other = tmp_path / "run.bcai"
    other.write_bytes(encode_receipt(SMALL.receipt()))
    _, _, error = outcome(capsys, "dispute", other, file)
    assert "one receipt is of a captured script, and the other is not" in error
    _, _, error = outcome(capsys, "dispute", file, tmp_path / "absent.bcai")
    assert "there is no file" in error


def test_outputs_that_are_no_values_of_the_trace_are_held_against_their_stored_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A loop leaves its last batch of row numbers, which torch computed by itself."""
    rows, page, half = np.arange(4), b"a page", np.array([1, -2], ml_dtypes.bfloat16)
    others = (
        OutputHash("batch", "bytes", blake3(save({"value": rows})).digest()),
        OutputHash("page.html", "bytes", blake3(page).digest()),
        OutputHash("half", "bytes", blake3(TensorFile({"value": half}).content()).digest()),
    )
    file = written(tmp_path / "receipt.bcai", captured(others=others).receipt)
    results = tmp_path / "results"
    results.mkdir()
    np.save(results / "batch.npy", rows)
    np.save(results / "half.npy", half.astype(np.float32))  # NumPy has no bfloat16
    (results / "page.html").write_bytes(page)
    check = ("receipt", "check", file, "--outputs", results)
    status, out, _ = outcome(capsys, *check)
    assert (status, "3 untraced outputs" in out) == (0, True)
    np.save(results / "batch.npy", rows + 1)
    status, out, _ = outcome(capsys, *check)
    assert (status, "received.content: file 'batch'" in out) == (1, True)
    assert "there is no" in outcome(capsys, *check[:-1], tmp_path / "absent")[2]


def test_what_is_kept_goes_into_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = captured()
    file = written(tmp_path / "receipt.bcai", run.receipt)
    save_file(run.given, tmp_path / "inputs.safetensors")
    status, _, error = outcome(capsys, "replay", file, "--leaf", "3", "--keep", file)
    assert (status, "--keep" in error, "cannot be made" in error) == (2, True, True)


def test_the_page_says_what_ran_what_did_not_and_what_that_proves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "operation aten.nonzero.default: 2 times, train.py:7"
    receipt = captured(unmapped=(line,), origin="aten.nonzero.default train.py:7").receipt
    file, page = written(tmp_path / "receipt.bcai", receipt), tmp_path / "pages" / "receipt.html"
    assert outcome(capsys, "receipt", "show", file, "--html", page)[0] == 0
    text = page.read_text()
    root = receipt.leaves[-2].program.hex()  # type: ignore[union-attr]
    assert "Everything fits together" in text
    assert "It is <strong>attested</strong>" in text
    assert row_of("aten.nonzero.default", "2 times, train.py:7") in text
    assert row_of("aten.nonzero.default train.py:7", "1 value of the trace came of it") in text
    assert row_of("3 times", f"7 instructions, program {root}") in text
    assert "model.w" in text
    assert "that these are the operations which the job" in text.partition("Not checked")[2]


def test_the_page_of_an_exact_receipt_lists_no_operation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = captured(unmapped=("<script>alert(1)</script>",)).receipt
    file, page = written(tmp_path / "receipt.bcai", hostile), tmp_path / "receipt.html"
    assert outcome(capsys, "receipt", "show", file, "--html", page)[0] == 0
    text = page.read_text()
    assert "It is <strong>exact</strong>" in text
    assert "own torch" not in text
    assert "<script>" not in text
