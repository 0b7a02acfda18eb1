"""Which line of the user's model a node of the graph comes from, or an error of torch."""

import re
from itertools import dropwhile
from pathlib import Path
from traceback import extract_tb
from typing import Any

import torch
from torch.fx import Node

from bcai.bridge.guest.export.loss import PREFIX

_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in .*$')
_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parent)


def place_of(node: Node) -> str:
    """Return `model.py:41`, the innermost line outside torch.

    A model that is torch's own all through has none: then it is the layer, as `layer '0.bag'
    (EmbeddingBag)`, or an empty string.
    """
    frame = _frame(node)
    return f"{Path(frame[0]).name}:{frame[1]}" if frame else _layer_of(node)


def code_of(node: Node) -> str:
    """Return that line's text, or an empty string."""
    frame = _frame(node)
    return frame[2] if frame else ""


def place_of_error(error: BaseException) -> str:
    """Return `model.py:41 (CODE)`, the innermost line that torch called, or nothing."""
    trace = extract_tb(error.__traceback__)
    frames = dropwhile(lambda each: not each.filename.startswith(_TORCH), trace)
    own = [each for each in frames if not each.filename.startswith((_TORCH, _HERE, "<"))]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno} ({own[-1].line})" if own else ""


def _layer_of(node: Node) -> str:
    stack: Any = node.meta.get("nn_module_stack") or {}
    if not stack:
        return ""
    path, kind = list(stack.values())[-1]
    name = kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__
    own = str(path).removeprefix(PREFIX)
    return f"layer {own!r} ({name})" if own else name


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
