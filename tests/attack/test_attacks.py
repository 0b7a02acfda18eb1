"""Every attempt of the table, at every level, cold and warm: see `attempts/attempt.py`.

`make test` makes the most telling ones behind the strongest jail of this machine; `make test-all`
makes all of them at each level. `python -m tests.attack.full_run` writes down what came of them.
"""

import _ctypes
import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from docs.reference.attack_table import FIGURES, PAGE, with_tables

from bcai.bridge.sandbox.jail import Cause
from bcai.bridge.sandbox.probe import probe_jail
from bcai.bridge.sandbox.warm import ZygotePool

from .attempts import ATTEMPTS
from .attempts.attempt import THROUGH, Attempt, Contained, Control, refusal
from .jails import Jail, Run
from .targets import SECRET, marked_processes, targets

LEVELS = ("A", "B", "C")
IS_ROOT = os.geteuid() == 0
A_LIBRARY = Path(_ctypes.__file__).read_bytes()


@dataclass
class Place:
    """Where attempts are made, and what is known of their controls by now."""

    folder: Path
    found: dict[str, object]
    outside: dict[str, str] = field(default_factory=dict[str, str])

    def arguments(self, size: int) -> tuple[str, ...]:
        return json.dumps(self.found), str(size)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Generator[Place, None, None]:
    folder = tmp_path_factory.mktemp("targets")
    with targets(folder) as found, pytest.MonkeyPatch.context() as patch:
        patch.setenv("BCAI_SECRET", SECRET)
        yield Place(folder, found)


def made() -> Iterator[ParameterSet]:
    """The most telling ones behind the best jail of this machine; each at every level."""
    for attempt in ATTEMPTS:
        for start in ("cold", "warm"):
            if attempt.is_quick:
                yield pytest.param(attempt, "best", start, id=f"{attempt.name}-best-{start}")
            for level in LEVELS:
                name = f"{attempt.name}-{level}-{start}"
                yield pytest.param(attempt, level, start, id=name, marks=pytest.mark.slow)


@pytest.mark.parametrize(("attempt", "level", "start"), list(made()))
def test_attempt(
    attempt: Attempt,
    level: str,
    start: str,
    place: Place,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    level = standing(level, start)
    skip_what_this_machine_lacks(attempt)
    pool = request.getfixturevalue("zygotes") if start == "warm" else None
    jail = new_jail(tmp_path / "project", level, pool)
    is_proven = check_control(attempt, level, jail, place)
    jail.arguments = place.arguments(attempt.sizes[1])
    run = jail.run(attempt.script(level), **attempt.limits)
    answer = attempt.outcome_at(level).answer(run)
    check_what_is_left(run)
    record_property("answer", answer)  # for record.py, as is the next
    record_property("control", is_proven)


def standing(wanted: str, start: str) -> str:
    """The level to test, if this machine can build it."""
    report = probe_jail("A" if wanted == "best" else wanted)
    if report.level != wanted and wanted != "best":
        pytest.skip(f"no level {wanted} on this machine: " + "; ".join(report.missing))
    if report.level == "none":
        pytest.skip("no jail on this machine: " + "; ".join(report.missing))
    if report.level == "C" and start == "warm":
        pytest.skip("level C starts every job cold")
    return report.level


def skip_what_this_machine_lacks(attempt: Attempt) -> None:
    if attempt.needs and importlib.util.find_spec(attempt.needs) is None:
        pytest.skip(f"needs the package {attempt.needs}")
    if attempt.machine not in ("", platform.machine()):
        pytest.skip(f"only {attempt.machine} has it")


def new_jail(folder: Path, level: str, pool: ZygotePool | None) -> Jail:
    folder.mkdir()
    (folder / "brought.so").write_bytes(A_LIBRARY)
    asked = "standard" if level == "C" else "high"
    return Jail(folder, zygotes=pool, level_max=level, security_level=asked)


def check_control(attempt: Attempt, level: str, jail: Jail, place: Place) -> bool:
    """Show that the attempt would succeed if nothing stood in its way; whether that was shown."""
    if attempt.control is Control.ITSELF:
        return True
    if attempt.control is Control.SMALL:
        if level in attempt.at:
            return True  # even a small one is refused here; the other levels show that it works
        jail.arguments = place.arguments(attempt.sizes[0])
        run = jail.run(attempt.script(level), **attempt.limits)
        assert THROUGH in run.stdout, f"a small one must get through, but: {run}"
        assert run.exit.cause is Cause.EXITED, run
        return True
    text = outside(attempt, place)
    if attempt.control is Control.ANSWERED:
        inside = getattr(attempt.outcome, "answers", ())
        assert THROUGH in text or refusal(text) not in ("", *inside), text
    elif attempt.control is Control.AS_ROOT and THROUGH not in text:
        assert refusal(text) or not IS_ROOT, text
        return False  # this root lacks the right, as in a container
    else:
        assert THROUGH in text, f"the control must get through, but: {text}"
    return True


def outside(attempt: Attempt, place: Place) -> str:
    """What the same script prints where no wall stands. Found once."""
    if attempt.name not in place.outside:
        folder = place.folder / f"outside-{len(place.outside)}"
        folder.mkdir()
        (folder / "job.py").write_text(attempt.script())
        (folder / "brought.so").write_bytes(A_LIBRARY)
        done = subprocess.run(
            [sys.executable, "-B", "job.py", *place.arguments(attempt.sizes[1])],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            pass_fds=[int(str(place.found["open"]))],
        )
        place.outside[attempt.name] = done.stdout + done.stderr
    return place.outside[attempt.name]


def check_what_is_left(run: Run) -> None:
    """After every attempt: no process, no code of a terminal, no result with a path for a name."""
    assert marked_processes() == []
    texts = (run.stdout, run.stderr, run.exit.message, run.exit.hint, *run.exit.warnings)
    assert not any(ord(letter) < 32 and letter not in "\n\r\t" for text in texts for letter in text)
    assert len(run.exit.outputs) <= 10_000
    assert not any("/" in output.name for output in run.exit.outputs)
    assert all(0 <= fraction <= 1 for fraction in run.progress)


def test_the_page_is_in_step() -> None:
    text = PAGE.read_text("utf-8")
    assert text == with_tables(text), "run: python -m docs.reference.attack_table"
    made_last = json.loads(FIGURES.read_text("utf-8"))["results"]
    assert made_last.keys() == {attempt.name for attempt in ATTEMPTS}, "make a full run"


def test_the_table_is_sound() -> None:
    names = [attempt.name for attempt in ATTEMPTS]
    assert len(set(names)) == len(names)
    for attempt in ATTEMPTS:
        assert (attempt.control is Control.SMALL) == (attempt.sizes != (0, 0)), attempt.name
        is_open = isinstance(attempt.outcome, Contained)
        assert (attempt.control is Control.ITSELF) == is_open, attempt.name
