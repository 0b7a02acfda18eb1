"""ARCHITECTURE.md lists the rooms that exist, each with its package's own sentence."""

import ast
import re
from pathlib import Path

from .checkout import ROOT, files, text_of

_ROW = re.compile(r"^(?P<indent> *)(?P<name>\w+)/ {2,}(?P<sentence>\S.*)$")
_BLOCK = re.compile(r"^    src/bcai/\n(?P<rows>(?:^     .*\n)+)", re.MULTILINE)


def listed_rooms() -> dict[str, str]:
    """Dotted name and sentence of every room of the page."""
    block = _BLOCK.search(text_of(Path("ARCHITECTURE.md")))
    assert block is not None, "ARCHITECTURE.md has no block that starts with src/bcai/"
    rooms: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in block["rows"].splitlines():
        row = _ROW.match(line)
        assert row is not None, f"not a room and its sentence: {line!r}"
        indent = len(row["indent"])
        above = [(outer, name) for outer, name in above if outer < indent]
        above.append((indent, row["name"]))
        rooms[".".join(name for _, name in above)] = row["sentence"]
    return rooms


def packages() -> dict[str, str]:
    """Dotted name and first docstring line of every room: the packages down to two levels."""
    found: dict[str, str] = {}
    for file in files():
        if file.name == "__init__.py" and file.parts[:2] == ("src", "bcai"):
            room = file.parts[2:-1]
            if 0 < len(room) <= 2 and not (len(room) == 2 and room[0] not in _DEEP):
                docstring = ast.get_docstring(ast.parse(text_of(file))) or ""
                found[".".join(room)] = docstring.splitlines()[0] if docstring else ""
    return found


_DEEP = {"bridge", "cluster", "vm"}  # rooms whose inner rooms the page names


def test_the_page_lists_the_packages_with_their_sentences() -> None:
    assert listed_rooms() == packages()


def test_every_package_says_what_it_is() -> None:
    silent = [
        str(file)
        for file in files()
        if file.name == "__init__.py"
        and file.parts[0] == "src"
        and not ast.get_docstring(ast.parse(text_of(file)))
    ]
    assert silent == []


def test_every_folder_of_the_package_is_a_package() -> None:
    folders = {file.parent for file in files() if file.parts[0] == "src" and file.suffix == ".py"}
    bare = [str(folder) for folder in folders if not (ROOT / folder / "__init__.py").is_file()]
    assert bare == []


def test_test_folders_are_of_the_agreed_kinds() -> None:
    agreed = {"unit", "conformance", "contract", "attack", "e2e", "repository", "docs"}
    used = {file.parts[1] for file in files() if file.parts[0] == "tests" and len(file.parts) > 2}
    assert used <= agreed
