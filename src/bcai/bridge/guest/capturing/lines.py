"""Which line of the script an operation comes from."""

import inspect
from pathlib import Path

import torch

from bcai.bridge.guest import surroundings

_TORCH = str(Path(torch.__file__).parent)
_BCAI = str(Path(__file__).parents[3])
_PYTHON = str(Path(inspect.__file__).parent) + "/"
_FRAMES_MAX = 200


def user_line() -> str:
    """Return `train.py:41`, the innermost line outside torch, Python's library and this package."""
    frame = inspect.currentframe()
    for _ in range(_FRAMES_MAX):
        if frame is None:
            break
        name = frame.f_code.co_filename
        if not name.startswith((_TORCH, _BCAI, "<")) and not _is_pythons(name):
            for folder in surroundings.folders:
                name = name.removeprefix(folder)
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def _is_pythons(name: str) -> bool:
    """Whether a file is of Python's own library; what is installed stands in a folder of it."""
    return name.startswith(_PYTHON) and "-packages" not in name
