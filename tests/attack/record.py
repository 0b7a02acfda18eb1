"""The record of a full run: one line of JSON for each way in which an attempt was made.

The tests write a line as soon as they know, so whatever becomes of them, what was made is on disk.
They inherit an open file for it, since an ordinary user may not open one of root's.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import pytest

_LINES, _LINE = 12, 300
RECORD = "BCAI_ATTACK_RECORD"
"""Names the descriptor of the record."""


@dataclass(frozen=True, slots=True, order=True)
class Way:
    """An attempt, at a level, started cold or warm, of a node that root or a user runs."""

    attempt: str
    level: str
    start: str
    user: str

    @property
    def test(self) -> str:
        """The test that makes it."""
        return f"test_attacks.py::test_attempt[{self.attempt}-{self.level}-{self.start}]"

    @property
    def words(self) -> str:
        return f"{self.attempt!r} at level {self.level}, {self.start}, as {self.user}"


@dataclass(frozen=True, slots=True)
class Made:
    """What came of it.

    Attributes
    ----------
    outcome
        `held`, `failed` or `skipped`.
    answer
        What the attempt was answered, if it held.
    control
        Whether its control was shown to get through.
    why
        The reason, if it did not hold or was not made.
    """

    way: Way
    outcome: str
    answer: str = ""
    control: bool = False
    why: str = ""


def write_down(report: pytest.TestReport) -> None:
    """Add a line on a test that has made its attempt, or could not; later ones count more."""
    if RECORD not in os.environ or "::test_attempt[" not in report.nodeid:
        return
    if report.when != "call" and report.passed:
        return
    name = report.nodeid.partition("[")[2].removesuffix("]")
    attempt, level, start = name.rsplit("-", 2)
    way = Way(attempt, level, start, "root" if os.geteuid() == 0 else "user")
    said = dict(report.user_properties)
    outcome = "held" if report.passed else report.outcome
    made = Made(
        way,
        outcome,
        str(said.get("answer", "")),
        bool(said.get("control", False)),
        "" if report.passed else _reason(report),
    )
    os.write(int(os.environ[RECORD]), json.dumps(asdict(made)).encode() + b"\n")


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):  # of a skip: file, line, reason
        return report.longrepr[2].removeprefix("Skipped: ")
    lines = report.longreprtext.splitlines()
    said = [line[:_LINE] for line in lines if line.startswith("E ")]  # an assertion may be a book
    return "\n".join(said[:_LINES] or [line[:_LINE] for line in lines[-_LINES:]])


def read(lines: Iterable[str]) -> dict[Way, Made]:
    """What is known of each way. A last line that was cut off is nothing."""
    found: dict[Way, Made] = {}
    for line in lines:
        if not line.endswith("\n"):
            continue
        fields: dict[str, Any] = json.loads(line)
        made = Made(Way(**fields.pop("way")), **fields)
        found[made.way] = made
    return found
