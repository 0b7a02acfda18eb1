import json
from pathlib import Path

import pytest

from bcai.cli.main import main
from bcai.vm.program.builder import Builder
from bcai.vm.program.codec import encode_program

BAD = 'import subprocess\n\ndef f():\n    "é"; open("/etc/shadow")\n\nsubprocess.run(["ls"])\n'


def outcome(capsys: pytest.CaptureFixture[str], *tokens: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(tokens)
    assert isinstance(ended.value.code, int)
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def test_findings_show_place_line_and_caret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.py").write_text(BAD, "utf-8")
    status, out, _ = outcome(capsys, "inspect", str(tmp_path / "bad.py"))
    assert status == 3
    assert "bad.py:6:1: refused: subprocess.run starts another program  [program.start]" in out
    lines = out.splitlines()
    shown = next(number for number, line in enumerate(lines) if "/etc/shadow" in line) + 1
    assert lines[shown].index('"/etc') == lines[shown + 1].index("^")
    assert "hint: " in out
    assert "1 refused, 1 warning, 0 notes" in out


def test_a_project_is_read_whole_and_json_is_one_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "main.py").write_text("from model import f\n", "utf-8")
    (tmp_path / "model.py").write_text(BAD, "utf-8")
    (tmp_path / "fast.so").write_bytes(b"\x7fELF")
    status, out, _ = outcome(capsys, "inspect", str(tmp_path), "--json")
    document = json.loads(out)
    assert status == document["exit_status"] == 0  # nothing but the entry is certain to run
    assert document["files"] == 2
    assert document["counts"] == {"refused": 0, "warning": 2, "note": 0}
    assert document["unseen"] == ["fast.so: machine code"]


def test_what_is_no_code_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data.csv").write_text("1", "utf-8")
    assert outcome(capsys, "inspect", str(tmp_path / "data.csv"))[0] == 2
    assert outcome(capsys, "inspect", str(tmp_path / "absent.py"))[0] == 2


def test_run_refuses_before_anything_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BCAI_HOME", str(tmp_path / "home"))
    (tmp_path / "bad.py").write_text(BAD, "utf-8")
    status, _, err = outcome(capsys, "run", str(tmp_path / "bad.py"))
    assert status == 3
    assert "bad.py:6:1" in err
    assert not (tmp_path / "home").exists(), "no network was started"


def test_the_code_in_a_program_is_read_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = Builder()
    x = build.input("x", "float32[2]")
    code = "y = inputs[0]\nimport subprocess\nsubprocess.run(['id'])\n"
    attributes = {"code": code, "outputs": "y: float32[2]", "sandbox": "high", "gpu": False}
    (y,) = build.emit("PythonExecute", (x + 1.0,), attributes)
    (tmp_path / "model.bcai").write_bytes(encode_program(build.finish(y=y).program))
    status, out, _ = outcome(capsys, "inspect", str(tmp_path / "model.bcai"))
    assert status == 3
    assert "PythonExecute@2:3:1: refused: subprocess.run starts another program" in out
    assert "subprocess.run(['id'])" in out
