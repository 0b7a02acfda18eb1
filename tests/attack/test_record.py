"""What a full run keeps of each attempt, whatever becomes of the others."""

import json
import os
from pathlib import Path

import pytest

from .attempts import ATTEMPTS
from .figures import figures
from .full_run import measures_a_limit, ways
from .record import RECORD, Made, Way, read, write_down

NODE = "tests/attack/test_attacks.py::test_attempt[{}-A-cold]"
PASSED, FAILED = "fill the disk", "fill /dev/shm"


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "record"
    monkeypatch.setenv(RECORD, str(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)))
    return path


def report(name: str, when: str, outcome: str, why: str = "") -> pytest.TestReport:
    return pytest.TestReport(
        NODE.format(name),
        ("test_attacks.py", 1, name),
        {},
        outcome,  # type: ignore[arg-type]
        why or None,
        when,  # type: ignore[arg-type]
        user_properties=[("answer", "EPERM"), ("control", True)],
    )


def read_lines(record: Path) -> dict[str, Made]:
    return {way.attempt: made for way, made in read(record.read_text().splitlines(True)).items()}


def test_one_that_fails_leaves_the_others_on_record(record: Path) -> None:
    for name, outcome in ((PASSED, "passed"), (FAILED, "failed")):
        write_down(report(name, "setup", "passed"))
        write_down(report(name, "call", outcome, "it got through" * (outcome == "failed")))
        write_down(report(name, "teardown", "passed"))
    found = read_lines(record)
    assert (found[PASSED].outcome, found[PASSED].answer) == ("held", "EPERM")
    assert (found[FAILED].outcome, found[FAILED].why) == ("failed", "it got through")
    told = json.loads(figures({made.way: made for made in found.values()}))
    assert told["not_held"] == [found[FAILED].way.words]
    assert told["results"][PASSED] == {"A": {"held": 1, "answers": ["EPERM"]}}
    assert told["results"][FAILED] == {"A": {"held": 0, "answers": []}}


@pytest.mark.parametrize("when", ["setup", "teardown"])
def test_what_breaks_around_an_attempt_is_no_success(record: Path, when: str) -> None:
    write_down(report(PASSED, "call", "passed"))
    write_down(report(PASSED, when, "failed", "a process of it is left"))
    assert read_lines(record)[PASSED].outcome == "failed"


def test_a_line_that_was_cut_off_counts_as_not_made(record: Path) -> None:
    write_down(report(PASSED, "call", "passed"))
    write_down(report(FAILED, "call", "passed"))
    whole = record.read_bytes()
    record.write_bytes(whole[:-3])
    assert read_lines(record).keys() == {PASSED}


def test_other_tests_leave_no_line(record: Path) -> None:
    other = report(PASSED, "call", "passed")
    other.nodeid = "tests/attack/test_walls.py::test_x"
    write_down(other)
    assert record.read_bytes() == b""


def test_every_way_is_wanted_once_and_limits_are_measured_alone() -> None:
    wanted = ways(ATTEMPTS)
    assert len(set(wanted)) == len(wanted) == 10 * len(ATTEMPTS)
    assert Way(PASSED, "C", "warm", "root") not in wanted
    alone = {attempt.name for attempt in ATTEMPTS if measures_a_limit(attempt)}
    assert {PASSED, "hide the excess from the watchdog behind many children"} <= alone
    assert "connect by tcp" not in alone
