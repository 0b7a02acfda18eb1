"""The files of this checkout: tracked ones, and new ones that git does not ignore."""

import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def files() -> tuple[Path, ...]:
    """Every file, relative to the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    names = listing.stdout.decode().split("\0")
    return tuple(Path(name) for name in sorted(names) if name and (ROOT / name).is_file())


def files_with(suffix: str, *folders: str) -> list[Path]:
    """Files with a suffix, in any of some top folders (all if none is named)."""
    return [
        file
        for file in files()
        if file.suffix == suffix and (not folders or file.parts[0] in folders)
    ]


def text_of(file: Path) -> str:
    """A file's text; empty for a binary file."""
    try:
        return (ROOT / file).read_text("utf-8")
    except UnicodeDecodeError:
        return ""
