"""Bytes of a Python file as a tree, or the reason why there is none. Nothing is ever run."""

import ast
import io
import re
import threading
import tokenize
import warnings
from dataclasses import dataclass

_QUIET = threading.Lock()  # `catch_warnings` changes the whole process
# Codecs that decode in one pass. Python has others (punycode, idna) that take hours for a megabyte.
_ENCODING = re.compile(
    r"utf-8(-sig)?|ascii|us-ascii|iso-8859-\d+|latin-?\d*|cp\d+|windows-\d+|koi8-[rut]"
    r"|gb2312|gbk|gb18030|big5|euc[-_](jp|kr)|shift[-_]jis|mac-roman"
)


@dataclass(frozen=True, slots=True)
class Source:
    """A file that parses."""

    tree: ast.Module
    lines: tuple[bytes, ...]  # UTF-8, as the tree's columns count

    def column(self, line: int, offset: int) -> int:
        """Turn a tree's byte offset into a column of characters, from 1."""
        if not 1 <= line <= len(self.lines):
            return offset + 1
        return len(self.lines[line - 1][:offset].decode("utf-8", "replace")) + 1


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that is no Python, as this interpreter sees it."""

    line: int
    column: int
    message: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that may be Python, but not for us."""

    reason: str


_SIGNS = b"!\"#%&'()*+,-./:;<=>@[]^{|}~\\\n\r\f"


def count_signs(data: bytes) -> int:
    """Count what makes a tree grow, without parsing."""
    return len(data) - len(data.translate(None, _SIGNS))


def parse_source(data: bytes) -> Source | Broken | Unreadable:
    """Parse a file's bytes as the interpreter would."""
    if b"\0" in data:
        place = data.index(b"\0")
        line = data.count(b"\n", 0, place) + 1
        start = data.rfind(b"\n", 0, place) + 1
        return Broken(line, place - start + 1, "source code cannot contain null bytes")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    except SyntaxError as error:  # unknown, or not what the first lines are
        return _broken(error)
    if not _ENCODING.fullmatch(encoding.lower().replace("_", "-")):
        return Unreadable(f"written in {encoding[:40]!r}, which is not read here")
    try:
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(data)
    except SyntaxError as error:
        return _broken(error)
    except ValueError as error:
        return Broken(1, 1, str(error))
    except (RecursionError, MemoryError):
        return Unreadable("nested too deep to be read")
    text = data.decode(encoding, "replace").replace("\r\n", "\n").replace("\r", "\n")
    return Source(tree, tuple(text.encode("utf-8", "replace").split(b"\n")))


def _broken(error: SyntaxError) -> Broken:
    message = str(error.msg or "invalid syntax")
    return Broken(max(1, error.lineno or 1), max(1, error.offset or 1), message)
