"""Files and functions stay small. What is over the limit is listed, and may only shrink."""

import ast
from collections.abc import Iterator
from pathlib import Path

from .checkout import ROOT, files, files_with, text_of

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
FILE_BYTES_MAX = 1_000_000
ALLOWED = Path(__file__).with_name("oversize.txt")  # lines of: NAME LINES


def lines_of_functions(file: Path) -> Iterator[tuple[str, int]]:
    """Each function's name in full, and its lines without decorators and docstring."""
    for node in ast.walk(ast.parse(text_of(file))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False) or ""
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield f"{file}::{node.name}", lines - len(docstring.splitlines())


def oversize() -> dict[str, int]:
    """What is over its limit now."""
    found: dict[str, int] = {}
    for file in files_with(".py"):
        length = len(text_of(file).splitlines())
        if length > FILE_LINES_MAX:
            found[str(file)] = length
        for name, lines in lines_of_functions(file):
            if lines > FUNCTION_LINES_MAX:
                found[name] = max(lines, found.get(name, 0))
    return found


def allowed() -> dict[str, int]:
    """What may be over its limit, and by how much at most."""
    rows = [line.split() for line in ALLOWED.read_text("utf-8").splitlines()]
    return {row[0]: int(row[1]) for row in rows if row and not row[0].startswith("#")}


def test_nothing_new_is_too_long() -> None:
    limits = allowed()
    grown = {name: lines for name, lines in oversize().items() if lines > limits.get(name, 0)}
    assert grown == {}, f"over {FILE_LINES_MAX} lines a file or {FUNCTION_LINES_MAX} a function"


def test_the_list_of_exceptions_only_shrinks() -> None:
    now = oversize()
    loose = {
        name: (limit, now.get(name)) for name, limit in allowed().items() if now.get(name) != limit
    }
    assert loose == {}, f"(listed, now) differ: lower or remove the row in {ALLOWED.name}"


def test_no_file_is_large() -> None:
    large = [str(file) for file in files() if (ROOT / file).stat().st_size > FILE_BYTES_MAX]
    assert large == []
