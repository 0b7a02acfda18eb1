"""Makes every attempt at every level, as root and as an ordinary user, and writes what came of it.

python -m tests.attack.full_run
"""

import json
import os
import platform
import sys
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from docs.reference.attack_table import FIGURES, LEVELS, PAGE, with_tables

from .attempts import ATTEMPTS
from .test_attacks import FIGURES_FILE
from .test_ordinary_user import NOBODY, run_apart


def figures(lines: list[str]) -> str:
    """By attempt and level: in how many ways it was made and held, and the answers it got. JSON."""
    ways: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    answers: dict[tuple[str, str], set[str]] = defaultdict(set)
    proven: set[str] = set()
    for line in lines:
        made = json.loads(line)
        proven |= {made["attempt"]} if made["control"] else set()
        place = made["attempt"], made["level"]
        ways[place].add((made["user"], made["start"]))
        answers[place].add(made["answer"])
    found = {
        attempt.name: {
            level: {"held": len(ways[attempt.name, level]), "answers": sorted(answers[place])}
            for level in LEVELS
            if (place := (attempt.name, level)) in ways
        }
        for attempt in ATTEMPTS
    }
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(cells)}" for name, cells in found.items())
    date = datetime.now(UTC).date().isoformat()
    kernel = platform.release().split("-")[0]
    machine = f"Linux {kernel}, {platform.machine()}, Python {platform.python_version()}"
    unproven = json.dumps(sorted(found.keys() - proven))
    return (
        f'{{"date": "{date}", "machine": "{machine}", "unproven": {unproven},'
        f' "results": {{\n{rows}\n}}}}\n'
    )


def main() -> int:
    """Run them, and renew the figures and the page."""
    if os.geteuid() != 0:
        sys.stderr.write("run this as root: it makes each attempt as root and as another user\n")
        return 2
    lines: list[str] = []
    for user in (0, NOBODY):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.chmod(0o755)
            found = folder / "figures.jsonl"
            found.touch()
            os.chown(found, user, user)
            os.environ[FIGURES_FILE] = str(found)
            run_apart(folder, user, "-m", "slow", "-k", "cold or warm", "test_attacks.py")
            lines += found.read_text("utf-8").splitlines()
    FIGURES.write_text(figures(lines), "utf-8")
    PAGE.write_text(with_tables(PAGE.read_text("utf-8")), "utf-8")
    sys.stdout.write(f"{len(ATTEMPTS)} attempts, made in {len(lines)} ways; all of them held\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
