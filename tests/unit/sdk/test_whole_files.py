"""A result's files take their places together, wherever a save is killed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bcai.sdk.whole_files import earlier_record, finish_left, swapped_in, write_synced

from . import killed_save
from .killed_save import NEW, save

OLD = {"a.npy": b"old", "both.npy": b"old", "logs.txt": b"old"}
MOMENTS = 40  # more than a save has acts on files


def visible(folder: Path) -> dict[str, bytes]:
    """What a user sees, without the record and what was never part of a result."""
    names = {file.name for file in folder.iterdir() if not file.name.startswith(".")}
    return {name: (folder / name).read_bytes() for name in names - {"result.json", "mine.txt"}}


def hidden(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if file.name.startswith(".")]


def killed(act: str, folders: list[Path]) -> int:
    """Kill an act in each folder, at a later moment from one to the next; return how many."""
    command = [sys.executable, killed_save.__file__, act, *map(str, folders)]
    found = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert 5 < found < MOMENTS, "some came to their end"
    return found


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders with an old result, where the save of a new one was killed at every moment."""
    root = tmp_path_factory.mktemp("killed")
    first = root / "1"
    save(first, OLD, "job_1")
    (first / "mine.txt").write_text("mine")
    copies = [Path(shutil.copytree(first, root / str(n))) for n in range(2, MOMENTS)]
    found = killed("save", [first, *copies])
    return [first, *copies][:found]


@pytest.fixture
def killed_saves(killed_once: list[Path], tmp_path: Path) -> list[Path]:
    """A copy of them."""
    return [Path(shutil.copytree(each, tmp_path / each.name)) for each in killed_once]


def test_a_save_that_is_killed_is_finished_or_undone_by_the_next(killed_saves: list[Path]) -> None:
    seen: list[str] = []
    for folder in killed_saves:
        before = visible(folder)
        if (folder / "result.json").exists():
            assert before in (OLD, NEW)
        moving = (folder / ".bcai-moving" / "result.json").exists()
        finish_left(folder)
        after, whose = visible(folder), earlier_record(folder)["job_id"]
        assert (after, whose) == ((NEW, "job_2") if moving or before == NEW else (OLD, "job_1"))
        assert hidden(folder) == []
        assert (folder / "mine.txt").read_text() == "mine"
        seen.append("mixed" if before not in (OLD, NEW) else whose)
    assert set(seen) == {"job_1", "mixed", "job_2"}, "each came up"


def test_the_next_save_finds_nothing_in_its_way(killed_saves: list[Path]) -> None:
    for folder in killed_saves:
        save(folder, {"third.npy": b"3"}, "job_3")
        assert visible(folder) == {"third.npy": b"3"}
        assert hidden(folder) == []
        assert (folder / "mine.txt").read_text() == "mine"


def test_whoever_finishes_may_be_killed_too(killed_saves: list[Path], tmp_path: Path) -> None:
    begun = next(each for each in killed_saves if (each / ".bcai-moving").exists())
    copies = [Path(shutil.copytree(begun, tmp_path / f"again{n}")) for n in range(1, MOMENTS)]
    for folder in copies[: killed("finish", copies)]:
        finish_left(folder)
        assert (visible(folder), hidden(folder)) == (NEW, [])


def test_what_a_living_one_writes_is_left_to_it(tmp_path: Path) -> None:
    with swapped_in(tmp_path) as beside:
        write_synced(beside / "w.npy", b"one")
        finish_left(tmp_path)
        save(tmp_path, OLD)
        assert (beside / "w.npy").read_bytes() == b"one"
        assert visible(tmp_path) == OLD
    assert visible(tmp_path) == {"w.npy": b"one"}


def test_only_what_a_save_has_made_is_removed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in (".bcai-experiments", ".bcai-0123"):
        (out / name).mkdir(parents=True)
    (out / f".bcai-{'0' * 32}").symlink_to(tmp_path)
    (tmp_path / "keep").write_text("mine")
    moving = out / ".bcai-moving"
    moving.mkdir()
    (moving / "w.npy").write_bytes(b"w")
    (moving / ".gone.json").write_text('["../keep", 3, "absent"]')
    finish_left(out)
    assert visible(out) == {"w.npy": b"w"}
    assert len(hidden(out)) == 3
    assert (tmp_path / "keep").read_text() == "mine"
