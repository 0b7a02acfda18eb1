import json
from pathlib import Path

import pytest

from bcai.cli.main import main


def outcome(capsys: pytest.CaptureFixture[str], *tokens: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(tokens)
    assert isinstance(ended.value.code, int)
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        (("rnu",), 'Did you mean "run"'),
        (("jobs", "lst"), 'Did you mean "list"'),
        (("jobs", "list", "--stat", "x"), "Did you mean --state"),
        (("run", "train.py", "--epochs", "5"), "bcai run SCRIPT -- OPTIONS"),
        (("run",), "nothing to run"),
        (("run", "absent.py"), "no file or folder"),
        (("run", "rep.py", "--code", "x=1"), "found both 'rep.py' and --code"),
        (("run", "rep.py", "--code", "x=1", "--", "a"), "found both 'rep.py' and --code"),
        (("run", "--code", "1", "--max-retries", "many"), "many"),
        (("jobs", "list", "--state", "RUNING"), "did you mean 'RUNNING'"),
        (("jobs", "show"), "JOB_ID"),
        (("create-project", "-x"), "-x"),
        (("run", "--explain", "--code", "1", "--name", ""), "--name: found '', expected a value"),
        (
            ("run", "--explain", "--code", "1", "--require="),
            "--require: found '', expected a value",
        ),
        (("run", "--explain", "--code", "1", "--data", ""), "--data: found ''"),
        (("jobs", "results", "last", "--out", __file__), "made:"),
        (("run", ""), "an argument: found ''"),
        (("run", "absent.py", "--", ""), "no file or folder 'absent.py'"),
        (("run", "--explain", "--code", "1", "--require", "a b"), "requirement 'a b'"),
        (("create-project", "a b"), "letters"),
    ],
)
def test_a_wrong_command_line_is_explained(
    capsys: pytest.CaptureFixture[str], tokens: tuple[str, ...], says: str
) -> None:
    status, out, err = outcome(capsys, *tokens)
    assert status == 2
    assert says in err
    assert out == ""
    assert "Traceback" not in err


def test_with_json_an_error_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = outcome(capsys, "run", "absent.py", "--json")
    document = json.loads(out)
    assert status == document["exit_status"] == 2
    assert document["code"] == "input.not_found"
    assert {"message", "hint"} <= document.keys()


def test_json_after_two_dashes_is_the_scripts_own(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = outcome(capsys, "run", "absent.py", "--", "--json")
    assert out == ""


def test_the_version_and_help_are_quick_to_find(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(capsys, "--version")[1].strip() == "0.1.0"
    status, out, _ = outcome(capsys, "--help")
    assert status == 0
    for command in ("run", "jobs", "up", "doctor", "create-project"):
        assert command in out


def test_a_project_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = outcome(capsys, "create-project", "hello")
    assert status == 0
    assert "cd hello && bcai run ." in out
    made = {path.name for path in (tmp_path / "hello").iterdir()}
    assert made == {"main.py", "bcai.toml", "README.md", ".bcaiignore"}
    status, _, err = outcome(capsys, "create-project", "hello")
    assert status == 1
    assert "nothing was changed" in err


def test_explain_sends_nothing_and_says_who_sees_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BCAI_HOME", str(tmp_path / "home"))
    data = tmp_path / "train.csv"
    data.write_text("1,2\n", encoding="utf-8")
    tokens = ("run", "--code", "print(1)", "--data", str(data), "--timeout", "90s", "--explain")
    status, out, _ = outcome(capsys, *tokens)
    assert status == 0
    assert not (tmp_path / "home").exists()
    for part in ("train.csv", "1m 30s", "owner can see everything", "weights", "jail"):
        assert part in " ".join(out.split())
    assert "GiB of memory" not in out  # nobody asked for that much
    assert "2.0 GiB of memory" in outcome(capsys, *tokens, "--memory", "2GiB")[1]
    document = json.loads(outcome(capsys, *tokens, "--json")[1])
    assert document["files"] == [{"path": "train.csv", "size_bytes": 4, "mount": "data"}]
    assert document["limits"]["wall_s"] == 90
    assert "weights" in document["visible_to_the_nodes_owner"]


def test_arguments_of_a_line_of_code_follow_after_two_dashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BCAI_HOME", str(tmp_path / "home"))
    given = ("run", "--explain", "--code", "print(1)", "--", "rep.py", "--fast")
    assert "rep.py --fast" in outcome(capsys, *given)[1]


def test_a_key_with_too_long_a_name_is_our_own_error(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = outcome(capsys, "keys", "add", "k" * 201, "--json")
    assert status == 2
    assert json.loads(out)["message"].endswith("k'; expected at most 200 characters")


def test_an_empty_home_has_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BCAI_HOME", str(tmp_path))
    assert json.loads(outcome(capsys, "down", "--json")[1]) == {"stopped": False}
    status, out, _ = outcome(capsys, "status", "--json")
    assert status == 1
    assert json.loads(out) == {"endpoint": None, "nodes": []}


def test_a_list_has_no_option_that_empties_it(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (("run",), ("program", "run"), ("node", "env", "add")):
        _, out, _ = outcome(capsys, *command, "--help")
        assert "--empty-" not in out


def test_a_program_that_is_none_is_called_by_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.bcai").write_bytes(b"\xff")
    _, _, err = outcome(capsys, "program", "hash", str(tmp_path / "model.bcai"))
    assert f"error: '{tmp_path}/model.bcai': neither canonical" in " ".join(err.split())
