"""Text of a job, made safe to show: valid Unicode and no terminal codes."""

import codecs
import re

# All C0 controls but newline, tab and carriage return; DEL; and C1, which some terminals obey.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


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
    r"""Make control characters visible, as `\x1b`."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def one_line(text: str, length_max: int = 2000) -> str:
    """Return a message of a job as one safe line of bounded length."""
    line = " ".join(escape_controls(text.encode("utf-8", "backslashreplace").decode()).split())
    return line if len(line) <= length_max else line[: length_max - 3] + "..."
