"""One line of assembly, read piece by piece; its errors point at the place."""

import difflib
import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager

from bcai.base.errors import FormatError, InputError, VerifyError
from bcai.vm.isa.attribute import Attribute, AttributeSchema
from bcai.vm.isa.types import DType

_SPACE = re.compile(r"[ \t]*(?:#.*)?")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_WHOLE = re.compile(r"\d{1,15}(?!\d)", re.ASCII)
_INT = re.compile(r"[+-]?\d{1,19}(?![.\deE])", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d{1,4})?|\.\d+|inf|nan)", re.ASCII)
_BYTES = re.compile(r"0x(?:[0-9a-f]{2})*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-f]{1,6})\}|(.))")
_POINTED = re.compile(r"%?\w*")
_TYPE = re.compile(r"[a-z0-9]+\[[\d,]*\]")


class LineReader:
    """Reads a line from left to right."""

    def __init__(self, line: str, number: int) -> None:
        self._line = line
        self._number = number
        self.at = 0

    def error(
        self, message: str, at: int | None = None, kind: type[InputError] = FormatError
    ) -> InputError:
        """An error that names line and column and shows the line with a caret."""
        place = min(self.at if at is None else at, len(self._line))
        place += len(self._line[place:]) - len(self._line[place:].lstrip())
        pointed = _POINTED.match(self._line, place)
        length = len(pointed[0]) if pointed else 1
        shown = "".join(each if each.isprintable() else " " for each in self._line)
        start = max(0, place - 100)
        caret = " " * (place - start) + "^" * max(1, length)
        return kind(
            f"line {self._number}, column {place + 1}: {message}\n"
            f"    {shown[start : start + 160]}\n    {caret}"
        )

    def unknown(self, what: str, name: str, known: Iterable[str]) -> InputError:
        """An error for a name that does not exist, with the nearest that does."""
        near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
        ending = f"; did you mean {near[0]!r}?" if near else ""
        return self.error(f"no {what} {name!r}{ending}", self.at - len(name))

    def has_more(self) -> bool:
        """Whether anything but space and a comment follows."""
        self._skip()
        return self.at < len(self._line)

    def end(self) -> None:
        """Nothing may follow."""
        if self.has_more():
            raise self.error("expected the end of the line")

    def peek(self, text: str) -> bool:
        """Whether `text` comes next."""
        self._skip()
        return self._line.startswith(text, self.at)

    def take(self, text: str) -> bool:
        """Step over `text` if it comes next."""
        found = self.peek(text)
        if found:
            self.at += len(text)
        return found

    def expect(self, text: str) -> None:
        """Step over `text`, which must come next."""
        if not self.take(text):
            raise self.error(f"expected {text!r}")

    def word(self, what: str) -> str:
        """A name."""
        return self._match(_WORD, what)

    def whole(self, what: str) -> int:
        """A whole number."""
        return int(self._match(_WHOLE, what))

    def type_text(self) -> str:
        """The text of a tensor type."""
        return self._match(_TYPE, "a type such as float32[2,3]")

    def quoted(self, what: str) -> str:
        """A text in quotation marks."""
        raw = self._match(_QUOTED, f'{what} in quotation marks, such as "x"')
        start = self.at - len(raw) + 1
        return _ESCAPE.sub(lambda match: self._unescape(match, start + match.start()), raw[1:-1])

    def attribute(self, schema: AttributeSchema) -> Attribute:
        """The value of an attribute, of the kind that its schema states."""
        start = self.at
        try:
            return schema.check(self._attribute(schema.kind))
        except TypeError as error:
            raise self.error(str(error), start) from error

    def _attribute(self, kind: str) -> object:
        if kind in ("ints", "floats"):
            return self._sequence("int" if kind == "ints" else "float")
        if kind == "int":
            return int(self._match(_INT, "an integer"))
        if kind == "float":
            return float(self._match(_FLOAT, "a number"))
        if kind == "str":
            return self.quoted("text")
        if kind == "bytes":
            return bytes.fromhex(self._match(_BYTES, "bytes such as 0x00ff")[2:])
        word = self.word("true or false" if kind == "bool" else "an element type")
        if kind == "bool" and word in ("true", "false"):
            return word == "true"
        if kind == "dtype" and word in DType.__members__:
            return DType[word]
        raise self.error(f"found {word!r}, expected {kind}", self.at - len(word))

    def _sequence(self, kind: str) -> tuple[object, ...]:
        self.expect("[")
        items: list[object] = []
        while not self.take("]"):
            items.append(self._attribute(kind))
            if not self.take(",") and not self.peek("]"):
                raise self.error("expected ',' or ']'")
        return tuple(items)

    def _unescape(self, match: re.Match[str], at: int) -> str:
        if match[1] is None:
            if match[2] in ('"', "\\"):
                return match[2]
            raise self.error(f"no escape {match[0]}; write the character as \\u{{HEX}}", at)
        code = int(match[1], 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise self.error(f"no character {match[0]}", at)
        return chr(code)

    def _match(self, pattern: re.Pattern[str], what: str) -> str:
        self._skip()
        match = pattern.match(self._line, self.at)
        if match is None:
            raise self.error(f"expected {what}")
        self.at = match.end()
        return match[0]

    def _skip(self) -> None:
        match = _SPACE.match(self._line, self.at)
        if match is not None:
            self.at = match.end()


@contextmanager
def located(reader: LineReader, at: int | None = None) -> Generator[None]:
    """Turn an error of a part of the line into one that points at it."""
    start = reader.at if at is None else at
    try:
        yield
    except (FormatError, VerifyError) as error:
        if str(error).startswith("line "):
            raise
        raise reader.error(str(error), start, type(error)) from error
