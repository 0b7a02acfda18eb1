"""What a job may ask for."""

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bcai.base.digest import digest_of
from bcai.base.errors import FormatError, InputError
from bcai.jobs.spec import (
    CODE_BYTES_MAX,
    FILE_BYTES_MAX,
    FileRef,
    JobKind,
    JobSpec,
    Limits,
    Mount,
    check_path,
)

DIGEST = digest_of(b"")


def test_a_script_is_a_job() -> None:
    assert JobSpec(name="hello", code="print(1)").entry is None


def test_a_project_is_a_job() -> None:
    spec = JobSpec(name="project", entry="main.py", files=(FileRef("main.py", DIGEST, 0),))
    assert spec.code is None


@pytest.mark.parametrize(("code", "entry"), [(None, None), ("print(1)", "main.py")])
def test_a_job_has_code_or_an_entry(code: str | None, entry: str | None) -> None:
    files = (FileRef("main.py", DIGEST, 0),)
    with pytest.raises(InputError, match="exactly one"):
        JobSpec(name="both", code=code, entry=entry, files=files)


def test_an_entry_is_a_file_of_the_project() -> None:
    data_only = (FileRef("main.py", DIGEST, 0, Mount.DATA),)
    with pytest.raises(InputError, match=r"entry: 'main\.py' is not among the project's files"):
        JobSpec(name="lost", entry="main.py", files=data_only)


def test_long_code_is_sent_to_a_project_folder() -> None:
    JobSpec(name="just fits", code="#" * CODE_BYTES_MAX)
    with pytest.raises(InputError, match="project folder"):
        JobSpec(name="long", code="#" * (CODE_BYTES_MAX + 1))


def test_code_is_measured_in_bytes() -> None:
    with pytest.raises(InputError, match="project folder"):
        JobSpec(name="wide", code="é" * (CODE_BYTES_MAX // 2 + 1))


def test_a_path_stands_once_in_each_mount() -> None:
    here = FileRef("a.csv", DIGEST, 0, Mount.DATA)
    there = FileRef("a.csv", DIGEST, 0, Mount.PROJECT)
    JobSpec(name="two mounts", code="", files=(here, there))
    with pytest.raises(InputError, match=r"named twice: a\.csv"):
        JobSpec(name="twice", code="", files=(here, here))


def test_input_tensors_are_one_file_of_a_python_job() -> None:
    tensors = FileRef("inputs.safetensors", DIGEST, 0, Mount.INPUT)
    JobSpec(name="given", code="", files=(tensors,))
    other = FileRef("x.npy", DIGEST, 0, Mount.INPUT)
    with pytest.raises(InputError, match=r"'x\.npy' has mount 'input', expected 'inputs\.safet"):
        JobSpec(name="other", code="", files=(other,))
    program = FileRef("program.bcai", DIGEST, 0)
    with pytest.raises(InputError, match="one of kind 'program' has its inputs in the data file"):
        JobSpec(
            name="program", kind=JobKind.PROGRAM, entry="program.bcai", files=(program, tensors)
        )


@pytest.mark.parametrize("retries", [-1, 101])
def test_retries_are_bounded(retries: int) -> None:
    with pytest.raises(InputError, match=f"max_retries: found {retries}, expected 0 to 100"):
        JobSpec(name="again", code="", max_retries=retries)


@pytest.mark.parametrize("field", list(Limits.__dataclass_fields__))
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_no_limit_can_be_switched_off(field: str, value: float) -> None:
    wrong: dict[str, Any] = {field: value}
    with pytest.raises(InputError, match=rf"limits\.{field}: .*expected a number above 0"):
        Limits(**wrong)


@pytest.mark.parametrize("size", [-1, FILE_BYTES_MAX + 1])
def test_a_files_size_is_bounded(size: int) -> None:
    with pytest.raises(InputError, match="size is"):
        FileRef("a.bin", DIGEST, size)


def test_a_file_has_a_content_address() -> None:
    with pytest.raises(FormatError, match="content address"):
        FileRef("a.bin", "sha256:00", 0)


@pytest.mark.parametrize("path", ["a.py", "data/train.csv", "a b/ü.txt", "...", ".hidden", "~/x"])
def test_plain_paths_are_taken(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "..", "/", "/etc/passwd", "../a", "a/../b", "a//b", "./a", "a/", "a/."),
        *("//a", "a\\b", "a\x00b", "a\nb", "\x1b[2J"),
    ],
)
def test_paths_that_leave_the_folder_are_refused(path: str) -> None:
    with pytest.raises(InputError, match="plain relative path"):
        check_path(path)


@given(st.text(alphabet=st.sampled_from(list("ab./\\\x00\n~ :-é")), max_size=12) | st.text())
@example("a/b/../../..")
def test_an_accepted_path_stays_in_its_folder(path: str) -> None:
    try:
        check_path(path)
    except InputError:
        return
    folder = PurePosixPath("/jail/work")
    inside = Path(folder / path)
    assert folder in inside.parents
    assert ".." not in inside.parts
    assert str(inside.relative_to(folder)) == path
    assert not any(ord(character) < 32 for character in path)


@pytest.mark.parametrize("path", ["x" * 256, "folder/" + "ü" * 128 + "/x.csv"])
def test_a_name_that_no_file_system_takes_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="256 bytes"):
        check_path(path)
    assert check_path("x" * 255)


@pytest.mark.parametrize("paths", [("a", "a/b"), ("pkg/x.py", "pkg/x.py/y.py")])
def test_a_file_is_no_folder(paths: tuple[str, str]) -> None:
    files = tuple(FileRef(path, DIGEST, 0) for path in paths)
    with pytest.raises(InputError, match="is a file"):
        JobSpec(name="nested", code="print(1)", files=files)


def test_the_same_path_is_a_file_here_and_a_folder_there() -> None:
    files = (FileRef("a", DIGEST, 0), FileRef("a/b", DIGEST, 0, Mount.DATA))
    assert JobSpec(name="apart", code="print(1)", files=files).files == files


@pytest.mark.parametrize("code_name", ["", ".", "..", "a/b.py", "/job.py", "a\0.py"])
def test_a_script_has_a_plain_name(code_name: str) -> None:
    with pytest.raises(InputError):
        JobSpec(name="odd", code="print(1)", code_name=code_name)


@pytest.mark.parametrize("path", ["job.py", "job.py/model.py"])
def test_a_script_has_a_place_of_its_own(path: str) -> None:
    with pytest.raises(InputError, match="has this name"):
        JobSpec(name="clash", code="print(1)", files=(FileRef(path, DIGEST, 0),))
