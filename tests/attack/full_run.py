"""Makes every attempt at every level, as root and as an ordinary user, and writes what came of it.

    python -m tests.attack.full_run [--record FILE] [--workers N] [--only WORDS]

Each way in which an attempt was made stands in the record at once: a run that was interrupted goes
on where it was, and one that failed somewhere still says what the others did. Attempts are made
beside each other, on all processors; those that measure a limit come last, each by itself, so that
none meets its limit, or misses it, because of another.

Exit status: 0 if all held, 1 if one did not, 2 if some were not made.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from docs.reference.attack_table import FIGURES, LEVELS, PAGE, with_tables

from .attempts import ATTEMPTS
from .attempts.attempt import Attempt, Control, Kind
from .figures import figures
from .record import RECORD, Made, Way, read
from .test_ordinary_user import NOBODY, REPOSITORY, make_apart

USERS = {"root": 0, "user": NOBODY}
BATCH = 24  # attempts of one process of tests: its start costs little, and so does a lost one
LOOK_S = 15.0


def main() -> int:
    """Make what has not been made, and renew the figures and the page."""
    options = _options()
    if os.geteuid() != 0:
        sys.stderr.write("run this as root: it makes each attempt as root and as another user\n")
        return 2
    wanted = [each for each in ATTEMPTS if options.only in each.name]
    options.record.parent.mkdir(parents=True, exist_ok=True)
    with options.record.open("a+", encoding="utf-8") as record:
        if not _is_of_this_code(record.fileno(), options.record):
            return 2
        measuring = [each for each in wanted if measures_a_limit(each)]
        others = [each for each in wanted if each not in measuring]
        watcher = _Watcher(options.record, len(ways(wanted)))
        with watcher:
            for attempts, workers in ((others, options.workers), (measuring, 1)):
                _make(attempts, read_record(options.record), record.fileno(), workers)
    made = read_record(options.record)
    missing = [way for way in ways(wanted) if way not in made]
    if not missing and not options.only:
        FIGURES.write_text(figures(made), "utf-8")
        PAGE.write_text(with_tables(PAGE.read_text("utf-8")), "utf-8")
    _say({way: made[way] for way in ways(wanted) if way in made}, missing)
    is_held = all(each.outcome != "failed" for each in made.values())
    return 2 if missing else int(not is_held)


def ways(attempts: Sequence[Attempt]) -> list[Way]:
    """Every way to make them. Level C has no warm start."""
    return [
        Way(attempt.name, level, start, user)
        for user in USERS
        for attempt in attempts
        for level in LEVELS
        for start in ("cold", "warm")
        if (level, start) != ("C", "warm")
    ]


def measures_a_limit(attempt: Attempt) -> bool:
    """Whether it is a matter of how much memory or time there is."""
    return attempt.control is Control.SMALL or attempt.kind in (Kind.MEMORY, Kind.CPU)


def read_record(path: Path) -> dict[Way, Made]:
    """What the record says, after its first line, so far."""
    with path.open(encoding="utf-8") as file:
        file.readline()
        return read(file)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.attack.full_run")
    parser.add_argument(
        "--record",
        type=Path,
        default=REPOSITORY / "out" / "attacks.jsonl",
        help="what was made already, and a line for each way that is made now",
    )
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--only", default="", help="attempts with these words in their names; no figures then"
    )
    return parser.parse_args()


def _is_of_this_code(record: int, path: Path) -> bool:
    """Head a new record with what it is of; refuse one of another jail or of other attempts."""
    digest = hashlib.blake2b(platform.release().encode(), digest_size=16)
    for folder in ("src/bcai/bridge", "tests/attack"):
        for file in sorted((REPOSITORY / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    head = json.dumps({"of": digest.hexdigest()}).encode() + b"\n"
    found = path.read_bytes()
    if not found:
        os.write(record, head)
    elif not found.startswith(head):
        sys.stderr.write(f"{path} is of other code or another kernel: remove or rename it\n")
        return False
    elif not found.endswith(b"\n"):
        os.write(record, b"\n")  # of a run that was killed in the middle of a line
    return True


def _make(attempts: Sequence[Attempt], made: Mapping[Way, Made], record: int, workers: int) -> None:
    """Make them in every way that is not recorded yet, in so many processes at once."""
    left = [way for way in ways(attempts) if way not in made]
    os.environ[RECORD] = str(record)
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(partial(_make_batch, record), _batches(left)):
            pass


def _batches(left: Sequence[Way]) -> Iterator[list[Way]]:
    """Ways of one user and a few attempts: the controls outside are then found once for each."""
    for user in USERS:
        of_user = [way for way in left if way.user == user]
        names = list(dict.fromkeys(way.attempt for way in of_user))
        for first in range(0, len(names), BATCH):
            batch = set(names[first : first + BATCH])
            yield [way for way in of_user if way.attempt in batch]


def _make_batch(record: int, batch: Sequence[Way]) -> None:
    """Run the tests of some ways; they write to the record themselves."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        tests = [way.test for way in batch]
        try:
            done = make_apart(folder, USERS[batch[0].user], "--tb=short", *tests, keep=(record,))
        except (subprocess.TimeoutExpired, OSError) as error:  # what it made is on record
            sys.stderr.write(f"{len(batch)} ways, from {batch[0].words}: {str(error)[-1000:]}\n")
            return
    if done.returncode not in (0, 1):  # 1: an attempt did not hold, which stands in the record
        sys.stderr.write(f"tests ended with status {done.returncode}:\n{done.stdout[-4000:]}\n")
        sys.stderr.write(done.stderr[-4000:])


class _Watcher:
    """Says now and then how far a run is, while its `with` block runs."""

    def __init__(self, record: Path, total: int) -> None:
        self._record = record
        self._total = total
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        said = ""
        while not self._ended.wait(LOOK_S):
            counts = Counter(each.outcome for each in read_record(self._record).values())
            line = f"{counts.total()} of {self._total} ways made, {counts['failed']} did not hold\n"
            if line != said:
                sys.stdout.write(line)
                sys.stdout.flush()
                said = line


def _say(made: Mapping[Way, Made], missing: Sequence[Way]) -> None:
    """Print the sum, and by name whatever is not as it should be."""
    counts = Counter(each.outcome for each in made.values())
    for why, number in Counter(
        each.why for each in made.values() if each.outcome == "skipped"
    ).items():
        sys.stdout.write(f"not made here in {number} ways: {why}\n")
    for way in missing:
        sys.stdout.write(f"NOT MADE: {way.words}\n")
    for way, each in made.items():
        if each.outcome == "failed":
            why = each.why.replace("\n", "\n    ")
            sys.stdout.write(f"DID NOT HOLD: {way.words}\n    {why}\n")
    sys.stdout.write(
        f"{len({way.attempt for way in made})} attempts, made in "
        f"{counts['held'] + counts['failed']} ways: {counts['held']} held, "
        f"{counts['failed']} did not, {counts['skipped']} cannot be made here, "
        f"{len(missing)} are missing\n"
    )


if __name__ == "__main__":
    sys.exit(main())
