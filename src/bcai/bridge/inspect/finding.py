"""What an inspection says: findings with their places, and what it could not look at."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from bcai.bridge.inspect.limits import FINDINGS_KEPT_MAX, TEXT_MAX, UNSEEN_KEPT_MAX


class Severity(StrEnum):
    """What follows from a finding."""

    REFUSED = "refused"  # certain: the code cannot work in the jail, so the job is refused
    WARNING = "warning"  # it will not work, or looks hostile, if it is reached
    NOTE = "note"  # allowed; a reader should know


SEVERITIES = tuple(Severity)  # worst first


@dataclass(frozen=True, slots=True)
class Finding:
    """One place in the code. `line` and `column` count from 1; 0 is the file as a whole."""

    rule: str
    severity: Severity
    file: str
    line: int
    column: int
    message: str
    hint: str = ""

    @property
    def place(self) -> str:
        """`train.py:3:5`."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Audit:
    """The findings of one job, as they are kept with its record.

    Attributes
    ----------
    counts
        How many there were of each severity, kept or not.
    findings
        The worst first, up to a limit.
    unseen
        What could not be looked at, each with the reason.
    files
        How many files were read.
    """

    counts: dict[str, int] = field(default_factory=dict[str, int])
    findings: tuple[Finding, ...] = ()
    unseen: tuple[str, ...] = ()
    files: int = 0

    @property
    def refusal(self) -> Finding | None:
        """The first finding for which the job is refused, if any."""
        first = self.findings[0] if self.findings else None
        return first if first is not None and first.severity is Severity.REFUSED else None


def audit_of(findings: Sequence[Finding], unseen: Sequence[str], files: int) -> Audit:
    """Sort, count and bound."""
    order = {severity: place for place, severity in enumerate(SEVERITIES)}
    ranked = sorted(findings, key=lambda item: (order[item.severity], item.file, item.line))
    counts = {
        severity.value: sum(item.severity is severity for item in findings)
        for severity in SEVERITIES
    }
    kept = [shortened(text) for text in unseen[:UNSEEN_KEPT_MAX]]
    if len(unseen) > UNSEEN_KEPT_MAX:
        kept.append(f"and {len(unseen) - UNSEEN_KEPT_MAX} more")
    return Audit(counts, tuple(ranked[:FINDINGS_KEPT_MAX]), tuple(kept), files)


def shortened(text: str) -> str:
    """Bound a text that holds some of the job's own, on one line and printable."""
    short = text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 3] + "..."
    return short if short.isprintable() else short.encode("unicode_escape").decode()[:TEXT_MAX]
