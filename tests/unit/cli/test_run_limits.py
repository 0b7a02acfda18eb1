"""Limits of a job from the command line and from bcai.toml."""

from pathlib import Path

import pytest

from bcai.base.errors import FormatError, InputError
from bcai.cli.project import read_project
from bcai.cli.run import RunOptions, job_fields, run
from bcai.cli.target import read_target


def folder_with(tmp_path: Path, limits: str) -> Path:
    (tmp_path / "main.py").write_text("")
    (tmp_path / "bcai.toml").write_text(f'[project]\nmemory = "1GB"\n{limits}\n')
    return tmp_path


def test_flags_win_over_the_project(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, 'limits = { cpu = "1h", disk = "2GB" }')
    options = RunOptions(limit=("cpu=10m", "inodes=50"), memory="3GB")
    limits = job_fields(read_target(str(folder), None), (), options)["limits"]
    assert limits == {"memory": "3GB", "cpu": "10m", "disk": "2GB", "inodes": 50}
    assert "limits" not in job_fields(read_target(None, "print(1)"), (), RunOptions())


@pytest.mark.parametrize("text", ["cpu", "=10m", "cpu="])
def test_a_flag_that_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected NAME=VALUE"):
        job_fields(read_target(None, "print(1)"), (), RunOptions(limit=(text,)))


def test_a_flag_that_stands_twice_is_refused() -> None:
    options = RunOptions(limit=("disk=1GB", "disk=2GB"))
    with pytest.raises(InputError, match="--limit 'disk' stands twice"):
        job_fields(read_target(None, "print(1)"), (), options)


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    options = RunOptions(code="print(1)", out=tmp_path / "taken", endpoint="http://127.0.0.1:1")
    with pytest.raises(InputError, match=r"--out .*taken: cannot be made"):
        run(options=options)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ('limits = { cpus = "1h" }', "cpus: unknown limit; did you mean 'cpu'"),
        ("limits = { disk = true }", "disk: found True"),
        ('limits = "1h"', "expected a table"),
    ],
)
def test_what_is_wrong_in_a_project_is_named(tmp_path: Path, limits: str, words: str) -> None:
    with pytest.raises(FormatError) as refused:
        read_project(folder_with(tmp_path, limits))
    assert words in str(refused.value)
    assert "line 3: project.limits" in str(refused.value)
