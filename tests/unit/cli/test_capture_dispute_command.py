"""`bcai dispute` of two captured receipts: who is wrong, and at which instruction."""

import json
from pathlib import Path

import pytest
from safetensors.numpy import save
from tests.unit.cli.test_receipt import outcome
from tests.unit.proof.captured_run import captured
from tests.unit.proof.test_capture_dispute import BACKEND, HONEST, FaultyBackend, claimed

from bcai.proof.capture_dispute import inputs_of, part_of
from bcai.proof.capture_receipt import CaptureReceipt, encode_capture
from bcai.proof.kept_evidence import keep_evidence
from bcai.proof.state import content_hash

LEAF = 3
FAULTY = FaultyBackend(2)
INPUTS = inputs_of(HONEST.receipt, HONEST.given, BACKEND, LEAF)


def lying() -> CaptureReceipt:
    """Of a node whose third instruction comes out wrong."""
    program = part_of(HONEST.receipt, LEAF).program
    wrong = FAULTY.compile(program).run(INPUTS)
    return claimed(HONEST.receipt, LEAF, [content_hash(each) for each in wrong.values()])


def kept(folder: Path, receipt: CaptureReceipt) -> Path:
    """A folder as a node keeps it."""
    folder.mkdir()
    (folder / "receipt.bcai").write_bytes(encode_capture(receipt))
    (folder / "inputs.safetensors").write_bytes(save(HONEST.given))
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return kept(tmp_path / "a", HONEST.receipt), kept(tmp_path / "b", lying())


@pytest.mark.parametrize("is_swapped", [False, True])
def test_a_dispute_of_two_folders_ends_at_the_instruction(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], is_swapped: bool
) -> None:
    honest, liar = folders
    pair = (liar, honest) if is_swapped else (honest, liar)
    wrong = "A" if is_swapped else "B"
    status, out, _ = outcome(capsys, "dispute", *pair)
    assert (status, f"WRONG: receipt {wrong}, at leaf {LEAF}" in out) == (0, True)
    assert f"bcai replay FOLDER --keep EVIDENCE --leaf {LEAF}" in " ".join(out.split())

    side = part_of(lying(), LEAF).side(INPUTS, FAULTY)  # as the node's own machine computes it
    keep_evidence(liar / f"part-{LEAF}", side, 0, 0)
    _, out, _ = outcome(capsys, "dispute", *pair)
    assert f"{wrong}: instruction 2 (" in out
    assert "does not give this result [result]" in out
    _, out, _ = outcome(capsys, "dispute", *pair, "--json")
    found = json.loads(out)
    assert (found["leaf"], found["wrong"]) == (LEAF, [wrong])
    assert found["settled"][wrong]["lies"]["B"]["code"] == "result"


def test_a_node_keeps_a_part_that_a_dispute_takes(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    honest, liar = folders
    status, out, _ = outcome(capsys, "replay", liar, "--keep", liar, "--leaf", LEAF)
    out = " ".join(out.split())
    assert (status, f"part-{LEAF}: checkpoint-0.steps, step-0.leaves" in out) == (0, True)
    _, out, _ = outcome(capsys, "dispute", honest, liar)
    assert "[steps.outputs]" in out  # an honest machine does not come to what the liar signed
    _, out, _ = outcome(capsys, "replay", honest, "--json")
    assert json.loads(out)["agrees"]


def test_options_that_do_not_go_together_are_refused(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    honest, _ = folders
    for given, missing in ((("--leaf", 3), "--keep"), (("--keep", honest), "--leaf")):
        status, _, error = outcome(capsys, "replay", honest, *given)
        assert (status, f"{missing} is missing" in error) == (2, True)
    status, _, error = outcome(capsys, "replay", honest, "--keep", honest, "--leaf", 0)
    assert (status, "leaf 0: expected a part" in error) == (2, True)


def test_where_scripts_differ_it_says_so_and_nobody_is_wrong(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = kept(tmp_path / "other", captured(scale=2.0).receipt)
    _, out, _ = outcome(capsys, "dispute", folders[0], other)
    assert "the scripts gave different values" in out
    assert "WRONG" not in out


def test_what_both_got_wrong_before_they_part_is_both_ones_lie(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    early = claimed(HONEST.receipt, 2, (bytes(32), bytes(32)))
    one = kept(tmp_path / "one", early)
    two = kept(tmp_path / "two", claimed(early, LEAF, (bytes(32), bytes(32))))
    _, out, _ = outcome(capsys, "dispute", one, two)
    assert "WRONG: receipt A and receipt B, at leaf 2" in out


def test_evidence_that_is_not_looked_at_is_said(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    honest, liar = folders
    other = kept(tmp_path / "other", captured(scale=2.0).receipt)
    given = ("--data", honest / "inputs.safetensors", "--evidence-a", tmp_path)
    _, out, _ = outcome(capsys, "dispute", honest, other, *given)
    assert "not looked at: --data, --evidence-a: nothing is run again for that" in out
    _, out, _ = outcome(capsys, "dispute", honest, other, *given, "--json")
    assert json.loads(out)["unused"] == ["--data", "--evidence-a"]
    both = ("--evidence-a", tmp_path, "--evidence-b", tmp_path)
    _, out, _ = outcome(capsys, "dispute", honest, liar, *both)
    assert "not looked at: --evidence-a: that receipt is right here" in out
    assert f"B: there is no part-{LEAF} in {tmp_path}; for the instruction" in " ".join(out.split())


def test_options_that_a_dispute_would_not_heed_are_refused(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, error = outcome(capsys, "dispute", *folders, "--state", tmp_path)
    assert (status, "--state: the receipt is of a captured script" in error) == (2, True)
    status, _, error = outcome(capsys, "dispute", *folders, "--evidence-b", tmp_path / "absent")
    assert (status, "--evidence-b: there is no folder" in error) == (2, True)
