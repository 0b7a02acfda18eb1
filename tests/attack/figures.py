"""The figures of a full run, as the page of attempts shows them."""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from docs.reference.attack_table import LEVELS

from .attempts import ATTEMPTS
from .record import Made, Way


def figures(made: Mapping[Way, Made]) -> str:
    """By attempt and level: in how many ways it was made and held, and the answers it got. JSON."""
    proven = {way.attempt for way, each in made.items() if each.control}
    found = {attempt.name: _cells(attempt.name, made) for attempt in ATTEMPTS}
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(cells)}" for name, cells in found.items())
    kernel = platform.release().split("-")[0]
    failed = sorted(way.words for way, each in made.items() if each.outcome == "failed")
    head = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"Linux {kernel}, {platform.machine()}, Python {platform.python_version()}",
        "unproven": sorted(found.keys() - proven),
        "not_held": failed,
    }
    return f'{json.dumps(head)[:-1]}, "results": {{\n{rows}\n}}}}\n'


def _cells(name: str, made: Mapping[Way, Made]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for level in LEVELS:
        here = [each for way, each in made.items() if (way.attempt, way.level) == (name, level)]
        held = [each for each in here if each.outcome == "held"]
        if any(each.outcome != "skipped" for each in here):
            cells[level] = {"held": len(held), "answers": sorted({each.answer for each in held})}
    return cells
