"""What an attempt to get through the jail is, and what may come of it.

An attempt declares its code once. The same code is its own positive control: outside of the jail
it must get through, or, where it is a matter of size, a small one must get through inside. A broken
attempt, or a wall that refuses everything, would otherwise "prove" the jail.
"""

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from textwrap import indent
from typing import Protocol

from bcai.bridge.sandbox.jail import Cause
from tests.attack.jails import Run

PRELUDE = Path(__file__).with_name("prelude.py").read_text("utf-8")
THROUGH = "REACHED"
_REFUSED = re.compile(r"^REFUSED (\w+)", re.MULTILINE)


class Kind(StrEnum):
    """Classes of attempts, in the order of the page."""

    NETWORK = "network"
    FILES = "files"
    PROCESSES = "processes"
    RIGHTS = "rights"
    MEMORY = "memory"
    CPU = "processor"
    PYTHON = "Python"
    OUTPUT = "output"
    SECRETS = "secrets"


class Outcome(Protocol):
    """What must become of an attempt inside."""

    @property
    def words(self) -> str:
        """The outcome in a word or two, for the page."""
        ...

    def answer(self, run: Run) -> str:
        """What came of it, in a word. AssertionError if that is not this outcome."""
        ...


@dataclass(frozen=True, slots=True)
class Refused:
    """The attempt fails, with one of these answers: an errno, or the type of an exception."""

    answers: tuple[str, ...]

    @property
    def words(self) -> str:
        return "refused"

    def answer(self, run: Run) -> str:
        assert THROUGH not in run.stdout, run
        found = refusal(run.stdout)
        assert found in self.answers, run
        return found


@dataclass(frozen=True, slots=True)
class Stopped:
    """The job ends for this reason; whatever it did until then did no harm."""

    causes: tuple[Cause, ...]
    status: int | None = None

    @property
    def words(self) -> str:
        return "ends the job" if self.status is None else f"exit status {self.status}"

    def answer(self, run: Run) -> str:
        assert run.exit.cause in self.causes, run
        assert self.status in (None, run.exit.exit_status), run
        return run.exit.cause.value


@dataclass(frozen=True, slots=True)
class Killed:
    """The kernel kills the process that tries."""

    by: signal.Signals

    @property
    def words(self) -> str:
        return "killed"

    def answer(self, run: Run) -> str:
        assert THROUGH not in run.stdout, run
        assert run.exit.cause is Cause.SIGNAL, run
        assert run.exit.exit_status == -self.by, run
        return self.by.name


@dataclass(frozen=True, slots=True)
class Contained:
    """Not blocked: the attempt gets through, to where it does no harm.

    Attributes
    ----------
    shows
        What its output must show as it is, if anything.
    """

    shows: str = ""

    @property
    def words(self) -> str:
        return "not blocked"

    def answer(self, run: Run) -> str:
        assert THROUGH in run.stdout, run
        assert self.shows in run.stdout, run
        return "contained"


class Control(StrEnum):
    """How the same code is shown to work where the wall is not."""

    OUTSIDE = "outside it gets through"
    AS_ROOT = "outside it gets through, for root"
    ANSWERED = "outside another part of the kernel answers"
    SMALL = "a small one gets through"
    ITSELF = "it gets through"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to do harm.

    Attributes
    ----------
    name
        What is attempted, as the words after "to".
    code
        Python, after the prelude (`prelude.py`); it falls through to the end if it succeeds.
    wall
        What holds it.
    sizes
        What `N` is in the control and in the attempt, where only the size makes the harm.
    at
        Levels that answer in another way.
    """

    kind: Kind
    name: str
    code: str
    outcome: Outcome
    wall: str
    control: Control = Control.OUTSIDE
    sizes: tuple[int, int] = (0, 0)
    limits: Mapping[str, float] = field(default_factory=dict[str, float])
    needs: str = ""  # a package
    machine: str = ""  # the only one that has it
    at: Mapping[str, Outcome] = field(default_factory=dict[str, Outcome])
    is_quick: bool = False

    def script(self, level: str = "") -> str:
        """The whole script. What must end the job is not caught."""
        body = self.code.strip("\n")
        if isinstance(self.outcome_at(level), Stopped | Contained):
            return f'{PRELUDE}\n{body}\nprint("{THROUGH}", flush=True)\n'
        return (
            f"{PRELUDE}\ntry:\n{indent(body, '    ')}\n"
            f'    print("{THROUGH}", flush=True)\n'
            "except BaseException as error:\n    refused(error)\n"
        )

    def outcome_at(self, level: str) -> Outcome:
        return self.at.get(level, self.outcome)


def refusal(text: str) -> str:
    """The answer that a script printed when it was refused, or nothing."""
    found = _REFUSED.search(text)
    return found[1] if found else ""
