"""Keyword arguments become a checked submission."""

from pathlib import Path
from typing import Any

import pytest

from bcai.base.errors import FormatError, InputError, NotFoundError, TooLargeError
from bcai.sdk.draft import draft_job


def test_code_alone_is_a_job() -> None:
    submission = draft_job("x = 1").submission
    assert (submission.code, submission.name, submission.timeout) == ("x = 1", "job", 3600)


def test_the_guides_call_is_understood() -> None:
    submission = draft_job(
        code="x = 1",
        requirements=["torch>=1.12", "transformers"],
        hardware={"gpu_memory": "8GB", "gpu_count": 1},
        timeout=3600,
        max_retries=3,
    ).submission
    assert submission.hardware.gpu_memory == 8_000_000_000
    assert submission.to_spec().hardware.gpu_count == 1


def test_a_script_brings_its_text_and_name(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_bytes(b"\xef\xbb\xbfx = 1\n")  # with a byte order mark
    submission = draft_job(path=tmp_path / "train.py").submission
    assert (submission.code, submission.code_name, submission.name) == (
        "x = 1\n",
        "train.py",
        "train",
    )


def test_a_project_brings_its_files_and_entry(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("import net")
    (tmp_path / "net.py").write_text("")
    draft = draft_job(project=tmp_path)
    assert draft.submission.entry == "main.py"
    assert sorted(file.path for file in draft.files) == ["main.py", "net.py"]


def test_an_empty_script_is_a_script() -> None:
    assert draft_job("").submission.code == ""


def test_no_retry_is_no_retry() -> None:
    assert draft_job("", max_retries=0).submission.max_retries == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of code, path= "),
        ({"code": "", "project": "."}, "exactly one of code, path= "),
        ({"code": "", "entry": "main.py"}, "entry: "),
        ({"code": "", "hardware": {"gpu_memry": 1}}, "hardware.gpu_memry: .*did you mean 'gpu_mem"),
        (
            {"code": "", "limits": {"memory": "8 XB"}},
            "limits.memory: found '8 XB'; expected a number ",
        ),
        ({"code": "", "limits": {"memory": 1}}, "limits.memory: found 1 B, expected at least 4.0"),
        ({"code": "", "timeout": "soon"}, "timeout: found 'soon'; expected such as '90s'"),
        ({"code": "", "timeout": 0}, "timeout: found 0"),
        ({"code": "", "max_retries": -1}, "max_retries: found -1; expected at least 0"),
        ({"code": "", "requirements": "torch"}, r"requirements: .*expected a list.*\['torch'\]"),
        ({"code": "", "requirements": ["torch >> 2"]}, "requirement 'torch >> 2': Expected"),
        ({"code": "", "reward_tokens": 1.5}, "reward_tokens: found 1.5"),
        ({"code": "", "name": ""}, "name: found ''"),
        ({"code": "", "hardware": "8GB"}, "hardware: found '8GB'; expected a valid dict"),
        ({"code": "", "limits": [1]}, r"limits: found \[1\]; expected a valid dict"),
        ({"code": "", "labels": "mine"}, "labels: found 'mine'; expected a valid dict"),
        ({"code": "", "arguments": 5}, "arguments: found 5; expected a valid list"),
    ],
)
def test_what_is_wrong_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        draft_job(**arguments)


@pytest.mark.parametrize("field", ["path", "project", "data"])
def test_a_missing_file_is_named(tmp_path: Path, field: str) -> None:
    arguments: dict[str, Any] = {field: tmp_path / "nowhere.py"}
    if field == "data":
        arguments["code"] = ""
    with pytest.raises(NotFoundError, match=r"nowhere\.py"):
        draft_job(**arguments)


def test_a_missing_entry_names_the_nearest_file(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    with pytest.raises(NotFoundError, match=r"did you mean 'train\.py'"):
        draft_job(project=tmp_path, entry="trian.py")


def test_a_script_that_is_no_text_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "latin.py").write_bytes(b"x = 1\n# caf\xe9\n")
    with pytest.raises(FormatError, match=r"latin\.py', line 2: byte 0xe9"):
        draft_job(path=tmp_path / "latin.py")


def test_a_script_that_is_too_long_says_what_to_do() -> None:
    with pytest.raises(TooLargeError) as caught:
        draft_job("#" * (2**20 + 1))
    assert "project" in caught.value.hint


def test_a_check_that_python_cannot_have_is_refused_before_anything_is_sent_or_priced() -> None:
    with pytest.raises(InputError, match=r"'full', but a job of kind 'python' cannot be checked"):
        draft_job("x = 1", verify="full")
    captured = draft_job("x = 1", verify="audited:0.5", capture=True).submission
    assert captured.to_spec().verify.rate == 0.5
    assert draft_job("x = 1", verify="replicated:2").submission.verify == "replicated:2"
