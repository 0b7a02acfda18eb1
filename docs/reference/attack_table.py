"""Writes the tables of docs/reference/attacks.md from the declared attempts and the last full run.

python -m docs.reference.attack_table
"""

import json
import sys
from pathlib import Path
from typing import Any

from tests.attack.attempts import ATTEMPTS
from tests.attack.attempts.attempt import Attempt, Contained, Control, Kind

PAGE = Path(__file__).with_name("attacks.md")
FIGURES = Path(__file__).with_name("attacks.json")
BEGIN, END = "<!-- attempts: begin -->", "<!-- attempts: end -->"
LEVELS = ("A", "B", "C")


def tables() -> str:
    """One table for each class of attempts, and a line on the run that the figures are from."""
    figures = json.loads(FIGURES.read_text("utf-8"))
    results, unproven = figures["results"], set(figures["unproven"])
    ways = sum(cell["held"] for levels in results.values() for cell in levels.values())
    open_ones = sum(isinstance(attempt.outcome, Contained) for attempt in ATTEMPTS)
    parts = [
        f"{len(ATTEMPTS)} attempts, {open_ones} of them not blocked but contained. Last full run: "
        f"{figures['date']}, {figures['machine']}; made and held in {ways} ways.",
        *_not_held(figures["not_held"]),
    ]
    for kind in Kind:
        rows = [
            _row(attempt, results.get(attempt.name, {}), is_proven=attempt.name not in unproven)
            for attempt in ATTEMPTS
            if attempt.kind is kind
        ]
        head = "| to... | is | by | control | A | B | C |\n|---|---|---|---|---|---|---|"
        parts.append(f"### {str(kind)[0].upper()}{str(kind)[1:]}\n\n{head}\n" + "\n".join(rows))
    return "\n\n".join(parts)


def _not_held(ways: list[str]) -> list[str]:
    """What a reader must not overlook."""
    return [f"**Did not hold in that run**: {'; '.join(ways)}."] if ways else []


def with_tables(text: str) -> str:
    """The page with its tables as they should be."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def _row(attempt: Attempt, found: dict[str, Any], *, is_proven: bool) -> str:
    name = attempt.name + (f" (as `{attempt.machine}` has it)" if attempt.machine else "")
    cells = [name, attempt.outcome.words, attempt.wall, _CONTROLS[attempt.control]]
    if not is_proven:
        cells[-1] += ": not in this run, whose root lacks the right"
    cells += [_cell(attempt, level, found.get(level)) for level in LEVELS]
    return "| " + " | ".join(cell.replace("*", r"\*") for cell in cells) + " |"


_CONTROLS = {
    Control.OUTSIDE: "outside",
    Control.AS_ROOT: "outside, root",
    Control.ANSWERED: "outside, other answer",
    Control.SMALL: "small one",
    Control.ITSELF: "itself",
}


def _cell(attempt: Attempt, level: str, found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    answers = ", ".join(f"`{answer}`" for answer in found["answers"])
    words = attempt.outcome_at(level).words
    other = f"{words}: " if words != attempt.outcome.words else ""
    return f"{other}{answers} ({found['held']})"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text("utf-8")), "utf-8")
    sys.stdout.write(f"{len(ATTEMPTS)} attempts\n")
