"""Text of a job, made safe to show: valid Unicode and no terminal codes."""

import codecs
import re

# All C0 controls but newline, tab and carriage return; DEL; C1, which some terminals obey; and the
# marks that show a line in another order than it is written (Unicode 9, explicit directions).
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class TextDecoder:
    """Decodes a stream of bytes that is cut anywhere, also inside a character."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def feed(self, data: bytes) -> str:
        """Text of what is complete so far."""
        return escape_controls(self._decoder.decode(data))

    def finish(self) -> str:
        """Text of what was left incomplete."""
        return escape_controls(self._decoder.decode(b"", final=True))


def escape_controls(text: str) -> str:
    r"""Make control characters visible, as `\x1b` or `\u202e`."""
    return _CONTROL.sub(_visible, text)


def _visible(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def one_line(text: str, length_max: int = 2000) -> str:
    """Return a message of a job as one safe line of bounded length."""
    line = " ".join(escape_controls(text.encode("utf-8", "backslashreplace").decode()).split())
    return line if len(line) <= length_max else line[: length_max - 3] + "..."
