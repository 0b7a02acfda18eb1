"""What changed in a folder is found, and what did not is not read twice."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bcai.base.errors import FormatError
from bcai.cluster.node.fingerprint import (
    Listing,
    first_change,
    list_content,
    parse_listing,
    render_listing,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    (made / "inner").mkdir(parents=True)
    (made / "inner" / "a b\n.py").write_text("one")
    (made / "run").write_text("two")
    (made / "run").chmod(0o755)
    (made / "link").symlink_to("run")
    (made / "big").write_bytes(b"x" * (5 << 20))
    return made


def look(listing: Listing, folder: Path) -> tuple[str, str]:
    """A quick look and a thorough one."""
    quick = first_change(listing, folder, thorough=False)
    return quick, first_change(listing, folder, thorough=True)


def test_a_listing_is_read_back_and_nothing_has_changed(folder: Path) -> None:
    listing = list_content(folder)
    assert sorted(listing) == ["big", "inner", "inner/a b\n.py", "link", "run"]
    assert parse_listing(render_listing(listing)) == listing
    assert look(listing, folder) == ("", "")


def rewrite(folder: Path) -> None:
    (folder / "run").write_text("TWO, longer")


def relink(folder: Path) -> None:
    (folder / "link").unlink()
    (folder / "link").symlink_to("big")


def remove(folder: Path) -> None:
    (folder / "inner" / "a b\n.py").unlink()


def forbid(folder: Path) -> None:
    (folder / "run").chmod(0o644)


def add_file(folder: Path) -> None:
    (folder / "inner" / "new").touch()


def add_folder(folder: Path) -> None:
    (folder / "empty").mkdir()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (rewrite, "run changed"),
        (relink, "link changed"),
        (remove, "inner/a b\n.py is gone"),
        (forbid, "run changed"),
        (add_file, "inner/new was added"),
        (add_folder, "empty was added"),
    ],
)
def test_every_change_is_named(folder: Path, change: Callable[[Path], None], words: str) -> None:
    listing = list_content(folder)
    change(folder)
    assert look(listing, folder) == (words, words)


def test_a_file_that_was_only_touched_is_the_same(folder: Path) -> None:
    listing = list_content(folder)
    os.utime(folder / "run", ns=(1, 1))
    assert look(listing, folder) == ("", "")


def test_only_a_thorough_look_finds_what_kept_its_size_and_time(folder: Path) -> None:
    listing = list_content(folder)
    times = (folder / "run").stat()
    (folder / "run").write_text("owt")
    os.utime(folder / "run", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert look(listing, folder) == ("", "run changed")


def test_what_is_no_file_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(FormatError, match="pipe"):
        list_content(folder)


def test_a_listing_that_is_none_is_named_by_line() -> None:
    with pytest.raises(FormatError, match="line 2"):
        parse_listing('- 00 1 1 "a"\n- 00 1\n')
