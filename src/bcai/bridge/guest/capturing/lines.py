"""Which line of the script an operation comes from."""

import inspect
from pathlib import Path

import torch

from bcai.bridge.guest import surroundings

_TORCH = str(Path(torch.__file__).parent)
_BCAI = str(Path(__file__).parents[3])
_FRAMES_MAX = 200


def user_line() -> str:
    """Return `train.py:41`, the innermost line outside torch and this package."""
    frame = inspect.currentframe()
    for _ in range(_FRAMES_MAX):
        if frame is None:
            break
        name = frame.f_code.co_filename
        if not name.startswith((_TORCH, _BCAI, "<")):
            for folder in surroundings.folders:
                name = name.removeprefix(folder)
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
