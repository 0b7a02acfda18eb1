import os
from pathlib import Path

import pytest

from bcai.base.errors import FormatError, InputError
from bcai.cli.target import read_target


def test_a_script_brings_its_text(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("print('hé')\n", encoding="utf-8")
    target = read_target(str(script), None)
    assert (target.name, target.code_name, target.code) == ("train", "train.py", "print('hé')\n")
    assert target.source("train.py") == "print('hé')\n"


@pytest.mark.parametrize("code", ["", " \n\t"])
def test_nothing_is_not_run(code: str) -> None:
    with pytest.raises(InputError, match=r"--code: found .*, expected Python to run"):
        read_target(None, code)


def test_a_folder_is_named_after_itself(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    (folder / "main.py").write_text("x = 1\n", encoding="utf-8")
    target = read_target(str(folder), None)
    assert (target.name, target.code, target.folder) == ("digits", None, folder)
    assert target.source("main.py") == "x = 1\n"
    assert target.source("absent.py") is None


@pytest.mark.parametrize(
    ("file_name", "content", "asked", "says"),
    [
        ("digits.py", b"", "digit.py", "did you mean 'digits.py'"),
        ("notes.txt", b"", "notes.txt", "expected a Python script"),
        ("book.ipynb", b"{}", "book.ipynb", "expected a Python script"),
        ("model.wat", b"(module)", "model.wat", "WebAssembly module"),
        ("latin.py", b"# ok\nx = '\xe9'\n", "latin.py", "line 2"),
    ],
)
def test_what_cannot_run_is_said(
    tmp_path: Path, file_name: str, content: bytes, asked: str, says: str
) -> None:
    (tmp_path / file_name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_target(str(tmp_path / asked), None)


def test_text_of_webassembly_comes_with_the_way_to_a_module(tmp_path: Path) -> None:
    for name in ("model.wat", "model.wasm"):
        (tmp_path / name).write_bytes(b"(module)")
    with pytest.raises(InputError) as caught:
        read_target(str(tmp_path / "model.wat"), None)
    assert "wat2wasm" in caught.value.hint
    target = read_target(str(tmp_path / "model.wasm"), None)
    assert (target.name, target.module) == ("model", tmp_path / "model.wasm")


def test_nothing_and_both_are_refused() -> None:
    with pytest.raises(InputError, match="nothing to run"):
        read_target(None, None)
    with pytest.raises(InputError, match="both"):
        read_target("a.py", "print(1)")


def test_a_script_that_is_no_text_names_its_line(tmp_path: Path) -> None:
    script = tmp_path / "latin.py"
    script.write_bytes(b"x = 1\ny = '\xe9'\n")
    with pytest.raises(FormatError, match=r"latin.py', line 2: byte 0xe9 is not UTF-8 text"):
        read_target(str(script), None)


def test_what_is_there_and_is_no_file_is_called_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "link.py").symlink_to("nowhere.py")
    with pytest.raises(InputError, match=r"pipe.py is no regular file"):
        read_target(str(tmp_path / "pipe.py"), None)
    with pytest.raises(InputError, match=r"link.py is a link to 'nowhere.py', which is not there"):
        read_target(str(tmp_path / "link.py"), None)
