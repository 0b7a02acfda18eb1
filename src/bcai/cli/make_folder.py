"""The folder that an option names, made before anything that takes time."""

import os
from pathlib import Path

from bcai.base.errors import InputError


def make_folder(folder: Path, option: str) -> None:
    """Make it now: hours of work must not end at a name that is taken. Raises InputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{option} {folder}: cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{option} {folder}: you may not write to it, or its disk is read-only")
