"""How a job is shown while it runs: the seam between following it and drawing it."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Protocol

from bcai.cli.terminal import say
from bcai.jobs.states import JobState
from bcai.sdk.events import Event, LogEvent, NoteEvent, StateEvent
from bcai.wire.jobs import JobView


class View(Protocol):
    """Shows one job. `close` leaves the terminal as it was found."""

    def waiting(self, text: str) -> AbstractContextManager[object]:
        """Show that something takes a moment, before the job is submitted."""
        ...

    def submitted(self, job: JobView, jails: Mapping[str, str]) -> None:
        """Show that the job is durable; `jails` has the level of each node's jail, by its name."""
        ...

    def event(self, event: Event) -> None:
        """Show something that happened."""
        ...

    def note(self, text: str) -> None:
        """Show a remark that is not the job's own."""
        ...

    def close(self) -> None:
        """Stop showing."""
        ...


class PlainView:
    """Plain lines for pipes and files: the job's stdout on stdout, everything else on stderr.

    With `--json`, stdout is kept free for the document and the job's stdout goes to stderr too.
    """

    def __init__(self, *, stdout_is_free: bool = True) -> None:
        self._stdout = sys.stdout if stdout_is_free else sys.stderr
        self._node = ""

    def waiting(self, text: str) -> AbstractContextManager[object]:
        """Nothing moves in a pipe."""
        del text
        return nullcontext()

    def submitted(self, job: JobView, jails: Mapping[str, str]) -> None:
        """Name the job, so that one can come back to it."""
        del jails  # the summary names it
        say(f"{job.name}: submitted as {job.id}")

    def event(self, event: Event) -> None:
        """Print log text as it comes and say in one line what else matters."""
        match event:
            case LogEvent(stream=stream, text=text):
                target = self._stdout if stream == "stdout" else sys.stderr
                target.write(text)
                target.flush()
            case StateEvent():
                self._move(event)
            case NoteEvent(text=text):
                self.note(text)
            case _:
                pass  # metrics and progress are drawn on terminals; --json and --out keep them

    def _move(self, event: StateEvent) -> None:
        """Say where it runs, and why it waits or starts anew; the summary tells the end."""
        self._node = event.node or self._node
        if event.state is JobState.RUNNING:
            self.note(state_line(replace(event, node=self._node)))
        elif event.state is JobState.QUEUED and event.reason:
            self.note(state_line(event))

    def note(self, text: str) -> None:
        """Say it on stderr."""
        say(text)

    def close(self) -> None:
        """Nothing is held open."""


def state_line(event: StateEvent) -> str:
    """`RUNNING on box-1 (attempt 2)`, with the reason if one is given."""
    line = str(event.state)
    if event.node:
        line += f" on {event.node}"
    if event.attempt > 1:
        line += f" (attempt {event.attempt})"
    return f"{line}: {event.reason}" if event.reason else line
