"""Which line of the user's model a node of the graph comes from."""

import re
from pathlib import Path

import torch
from torch.fx import Node

_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in .*$')
_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parent)


def place_of(node: Node) -> str:
    """Return `model.py:41`, the innermost line outside torch, or an empty string."""
    frame = _frame(node)
    return f"{Path(frame[0]).name}:{frame[1]}" if frame else ""


def code_of(node: Node) -> str:
    """Return that line's text, or an empty string."""
    frame = _frame(node)
    return frame[2] if frame else ""


def _frame(node: Node) -> tuple[str, int, str] | None:
    trace = node.meta.get("stack_trace")
    lines = str(trace).splitlines() if trace else []
    found = None
    for index, text in enumerate(lines):
        match = _FRAME.match(text)
        if match is None or match["file"].startswith((_TORCH, _HERE, "<")):
            continue
        code = lines[index + 1].strip() if index + 1 < len(lines) else ""
        found = (match["file"], int(match["line"]), "" if _FRAME.match(code) else code)
    return found
