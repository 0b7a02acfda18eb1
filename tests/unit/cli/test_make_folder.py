"""A folder that could not hold the result is refused before the job is sent."""

import os
from pathlib import Path

import pytest

from bcai.base.errors import InputError
from bcai.cli.make_folder import make_folder


def test_it_is_made_with_all_above_it(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b", "--out")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--out .*file: cannot be made: File exists"):
        make_folder(tmp_path / "file", "--out")


def test_a_folder_that_may_not_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_read_only(path: object, mode: int) -> bool:
        return not mode & os.W_OK

    monkeypatch.setattr(os, "access", is_read_only)
    with pytest.raises(InputError, match=r"--keep .*: you may not write to it"):
        make_folder(tmp_path, "--keep")
