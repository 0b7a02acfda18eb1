"""Lines out of a stream of text, with the carriage returns of progress bars taken care of."""

PENDING_CHARACTERS_MAX = 16_384  # a line longer than this is shown in pieces


class LineReader:
    """Collects text and gives back whole lines, as a terminal would show them.

    A progress bar such as tqdm's draws over its own line with carriage returns: only what it
    drew last stays. `pending` is the line that has no end yet.
    """

    def __init__(self) -> None:
        self._pending = ""

    @property
    def pending(self) -> str:
        """What the unfinished line shows at the moment."""
        return _drawn(self._pending)

    def feed(self, text: str) -> list[str]:
        """Take text; return the lines that it completed."""
        *whole, rest = (self._pending + text).split("\n")
        if "\r" in rest:  # what was drawn over is never seen again
            kept = rest.rstrip("\r").rfind("\r")
            rest = rest[kept + 1 :] if kept >= 0 else rest
        lines = [_drawn(line) for line in whole]
        if len(rest) > PENDING_CHARACTERS_MAX:
            lines.append(_drawn(rest))
            rest = ""
        self._pending = rest
        return lines

    def finish(self) -> list[str]:
        """Return the unfinished line, if there is one, and forget it."""
        rest, self._pending = _drawn(self._pending), ""
        return [rest] if rest else []


def _drawn(line: str) -> str:
    """Return what a terminal shows of a line after its carriage returns."""
    shown = ""
    for part in line.split("\r"):
        shown = part + shown[len(part) :]
    return shown
