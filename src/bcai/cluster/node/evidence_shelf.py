"""What a node keeps to defend its results: one folder a job, bounded in size and age.

What is in dispute stays until the ruling, whatever the bounds say, and whoever is killed meanwhile.
"""

import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from bcai.base.units import format_size

EVIDENCE = "evidence"  # in the node's folder
DISPUTED = "disputed"  # beside it: a file for each result in dispute, with the dispute's id
RECEIPT = "receipt.bcai"
ROWS = "rows.safetensors"
FIRST_STATE = "first_state.safetensors"
STATES = "states"
OUTPUTS = "outputs"
PART_S_MAX = 3600.0
"""Older than this, a folder that is not whole has lost its writer."""

logger = logging.getLogger(__name__)


class Pins:
    """The results of this node that are in dispute, by job: on disk, for the next process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, job_id: str, dispute_id: str) -> None:
        """Hold what defends this result."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = self._folder / f".{job_id}.{os.getpid()}"
        part.write_text(dispute_id)
        part.replace(self._folder / job_id)
        _sync(self._folder)

    def remove(self, job_id: str) -> None:
        """Let it go: there is a ruling."""
        (self._folder / job_id).unlink(missing_ok=True)

    def __contains__(self, job_id: str) -> bool:
        """Whether it is held."""
        return (self._folder / job_id).is_file()

    def disputes(self) -> dict[str, str]:
        """Ids of the disputes, by job."""
        try:
            files = [file for file in self._folder.iterdir() if not file.name.startswith(".")]
        except FileNotFoundError:
            return {}
        return {file.name: file.read_text() for file in files}


def keep_job(folder: Path, files: Mapping[str, Path]) -> None:
    """Keep these files, by their place in the folder, as hard links or copies.

    The folder is there with all of them or not at all. A full disk costs the defence, not the job.
    """
    part = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        shutil.rmtree(part, ignore_errors=True)
        for place, source in files.items():
            target = part / place
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _link(source, target)
        _flush(part)
        earlier = folder.with_name(f"{part.name}.earlier")
        if folder.exists():  # of an attempt before: the same bits, signed at another time
            folder.rename(earlier)
        part.rename(folder)
        shutil.rmtree(earlier, ignore_errors=True)
        _sync(folder.parent)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)


def forget_old(shelf: Path, pins: Pins, *, bytes_max: int, age_s_max: float, now: float) -> None:
    """Remove what is too old, then the oldest, until the rest is within its bound.

    What is in dispute stays, and counts: if it fills the shelf alone, nothing else is kept.
    """
    found: list[tuple[float, int, Path]] = []
    with suppress(FileNotFoundError):
        for folder in shelf.iterdir():
            with suppress(FileNotFoundError):
                found.append((folder.stat().st_mtime, _size(folder), folder))
    total = sum(size for _, size, _ in found)
    for at, size, folder in sorted(found):
        if folder.name.startswith("."):  # a worker writes it now, or died while it did
            is_over = now - at > PART_S_MAX
        elif folder.name in pins:  # asked at the last moment: a dispute may have begun just now
            continue
        else:
            is_over = total > bytes_max or now - at > age_s_max
        if is_over:
            if total > bytes_max:
                logger.warning(
                    "the evidence of %s goes, a dispute about it would be lost: the shelf holds %s "
                    "of at most %s, %s of it in dispute",
                    folder.name, format_size(total), format_size(bytes_max),
                    format_size(sum(each for _, each, other in found if other.name in pins)),
                )  # fmt: skip
            shutil.rmtree(folder, ignore_errors=True)
            total -= size


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def _flush(folder: Path) -> None:
    for path, _, names in os.walk(folder):
        for name in names:
            with (Path(path) / name).open("rb") as file:
                os.fsync(file.fileno())
        _sync(Path(path))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
