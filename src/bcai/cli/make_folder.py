"""The folder that an option names, made before anything that takes time."""

from pathlib import Path

from bcai.base.errors import InputError


def make_folder(folder: Path, option: str) -> None:
    """Make it now: hours of work must not end at a name that is taken. Raises InputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{option} {folder}: cannot be made: {error.strerror}") from error
