"""Which files a job brings."""

import os
from pathlib import Path

import pytest

from bcai.base.errors import InputError, NotFoundError, TooLargeError
from bcai.jobs.spec import Mount
from bcai.sdk import folder as folder_module
from bcai.sdk.folder import data_files, entry_of, project_files


def write(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    return folder


def paths(folder: Path) -> list[str]:
    return sorted(file.path for file in project_files(folder))


def test_a_project_is_its_files_by_their_inner_path(tmp_path: Path) -> None:
    write(tmp_path, "main.py", "model/net.py", "model/deep/layer.py")
    assert paths(tmp_path) == ["main.py", "model/deep/layer.py", "model/net.py"]


def test_what_no_job_needs_stays_here(tmp_path: Path) -> None:
    write(tmp_path, "main.py", ".git/HEAD", "a/__pycache__/x.pyc", ".venv/bin/python", "b.pyc")
    write(tmp_path, "web/node_modules/x.js")
    assert paths(tmp_path) == ["main.py"]


def test_an_ignore_file_reads_as_gitignore_does(tmp_path: Path) -> None:
    write(tmp_path, "main.py", "runs/1.log", "notes.txt", "keep.txt", "sub/notes.txt", "sub/runs")
    (tmp_path / ".bcaiignore").write_text("# comment\n/runs/\n*.txt\n!keep.txt\n")
    assert paths(tmp_path) == ["keep.txt", "main.py", "sub/runs"]


def test_a_link_inside_the_folder_brings_its_content(tmp_path: Path) -> None:
    write(tmp_path, "main.py", "shared/data.csv")
    (tmp_path / "alias.csv").symlink_to("shared/data.csv")
    (tmp_path / "also").symlink_to("shared")
    assert paths(tmp_path) == ["alias.csv", "also/data.csv", "main.py", "shared/data.csv"]


@pytest.mark.parametrize("name", ["secret", "secrets"])
def test_a_link_out_of_the_folder_is_refused_by_name(tmp_path: Path, name: str) -> None:
    write(tmp_path, "outside/secret", "project/main.py")
    target = tmp_path / "outside" if name == "secrets" else tmp_path / "outside" / "secret"
    (tmp_path / "project" / name).symlink_to(target)
    with pytest.raises(InputError, match=rf"{name}'.*leads out of the folder"):
        project_files(tmp_path / "project")


def test_an_ignored_link_may_lead_anywhere(tmp_path: Path) -> None:
    write(tmp_path, "project/main.py")
    (tmp_path / "project" / "out").symlink_to("/")
    (tmp_path / "project" / ".bcaiignore").write_text("out\n")
    assert paths(tmp_path / "project") == ["main.py"]


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "main.py")
    (tmp_path / "again").symlink_to(".")
    with pytest.raises(InputError, match=r"again.*leads back to itself"):
        project_files(tmp_path)


def test_a_broken_link_and_a_pipe_are_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, "a/main.py", "b/main.py")
    (tmp_path / "a" / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "b" / "pipe")
    with pytest.raises(InputError, match="gone"):
        project_files(tmp_path / "a")
    with pytest.raises(InputError, match=r"pipe.*no regular file"):
        project_files(tmp_path / "b")


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "FILES_MAX", 3)
    write(tmp_path, *(f"{number}.txt" for number in range(4)))
    with pytest.raises(TooLargeError, match="more than 3 files") as caught:
        project_files(tmp_path)
    assert ".bcaiignore" in caught.value.hint


def test_a_file_is_no_project_and_a_missing_one_is_named(tmp_path: Path) -> None:
    write(tmp_path, "main.py")
    with pytest.raises(InputError, match="expected a folder"):
        project_files(tmp_path / "main.py")
    with pytest.raises(NotFoundError, match="nowhere"):
        project_files(tmp_path / "nowhere")


def test_data_keeps_its_names(tmp_path: Path) -> None:
    write(tmp_path, "digits.csv", "images/a.png", "images/b/c.png")
    found = data_files([tmp_path / "digits.csv", tmp_path / "images"])
    assert sorted(file.path for file in found) == ["digits.csv", "images/a.png", "images/b/c.png"]
    assert {file.mount for file in found} == {Mount.DATA}


def test_a_linked_data_file_keeps_the_name_it_was_given(tmp_path: Path) -> None:
    write(tmp_path, "store/4711")
    (tmp_path / "digits.csv").symlink_to("store/4711")
    assert [file.path for file in data_files([tmp_path / "digits.csv"])] == ["digits.csv"]


def test_two_data_files_of_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a/x.csv", "b/x.csv")
    with pytest.raises(InputError, match=r"would both be 'x\.csv'"):
        data_files([tmp_path / "a" / "x.csv", tmp_path / "b" / "x.csv"])


@pytest.mark.parametrize(
    ("names", "entry"),
    [
        (["main.py", "a.py"], "main.py"),
        (["__main__.py", "a.py"], "__main__.py"),
        (["train.py", "lib/net.py"], "train.py"),
    ],
)
def test_the_file_that_starts_is_guessed(tmp_path: Path, names: list[str], entry: str) -> None:
    assert entry_of(project_files(write(tmp_path, *names)), tmp_path) == entry


def test_where_a_guess_would_be_luck_the_choices_are_named(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "b.py")
    with pytest.raises(InputError, match=r"found a\.py, b\.py"):
        entry_of(project_files(tmp_path), tmp_path)
