"""The live view of a job on a terminal: log lines scroll above a header, curves and a bar."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from bcai.base.units import format_duration_s
from bcai.cli.curve import Curve
from bcai.cli.figures import format_number
from bcai.cli.lines import LineReader
from bcai.cli.sparkline import sparkline
from bcai.cli.terminal import is_unicode, stdout_console
from bcai.cli.view import state_line
from bcai.jobs.states import JobState
from bcai.sdk.events import Event, LogEvent, MetricEvent, NoteEvent, ProgressEvent, StateEvent
from bcai.wire.jobs import JobView

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESH_HZ = 8
CURVES_MAX = 4  # metrics shown at once; the others are in the summary's files
CURVE_WIDTH_MAX = 24
BAR_WIDTH_MAX = 50
STATE_STYLES = {
    JobState.QUEUED: "yellow",
    JobState.ASSIGNED: "yellow",
    JobState.RUNNING: "cyan",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "magenta",
    JobState.TIMED_OUT: "red",
}


class LiveView:
    """Draws one job until it is closed; the drawing goes, the log lines stay."""

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._console = console or stdout_console()
        self._unicode = is_unicode()
        self._name = ""
        self._job_id = ""
        self._state = JobState.QUEUED
        self._node = ""
        self._waiting = ""
        self._jails: Mapping[str, str] = {}
        self._percent: float | None = None
        self._began: float | None = None
        self._curves: dict[str, Curve] = {}
        self._readers = {"stdout": LineReader(), "stderr": LineReader()}
        self._spinner = Spinner("dots" if self._unicode else "line", style="cyan")
        self._live = Live(
            get_renderable=self.render,
            console=self._console,
            refresh_per_second=REFRESH_HZ,
            transient=True,
            redirect_stderr=True,
            redirect_stdout=False,
        )

    def waiting(self, text: str) -> AbstractContextManager[object]:
        """Turn a spinner while the network is found and the files travel."""
        spinner = "dots" if self._unicode else "line"
        return self._console.status(text, spinner=spinner, spinner_style="cyan")

    def submitted(self, job: JobView, jails: Mapping[str, str]) -> None:
        """Begin to draw."""
        self._jails = jails
        self._name, self._job_id, self._state = job.name, job.id, job.state
        if job.waiting is not None:
            self._waiting = job.waiting.message
        self._live.start()

    def event(self, event: Event) -> None:
        """Take in what happened; the next refresh shows it."""
        match event:
            case LogEvent(stream=stream, text=text):
                self._print_lines(stream, self._readers[stream].feed(text))
            case MetricEvent(values=values):
                for name, value in values.items():
                    self._curves.setdefault(name, Curve()).add(value)
            case ProgressEvent(percent=percent):
                self._percent = percent
            case NoteEvent(text=text):
                self.note(text)
            case StateEvent():
                self._move(event)

    def note(self, text: str) -> None:
        """Print a remark among the log lines."""
        mark = "»" if self._unicode else ">"
        self._console.print(Text.assemble((f"{mark} ", "bold yellow"), (text, "yellow")))

    def close(self) -> None:
        """Print what is left of the log and remove the drawing."""
        for stream, reader in self._readers.items():
            self._print_lines(stream, reader.finish())
        self._live.stop()

    def _move(self, event: StateEvent) -> None:
        if event.state is JobState.RUNNING:
            self._began = self._clock()
            self._percent = None
            self._curves.clear()
        if event.state is JobState.QUEUED and event.attempt:
            self.note(state_line(event))  # a retry: worth a line that stays
        self._state, self._waiting = event.state, event.reason
        self._node = event.node or self._node

    def _print_lines(self, stream: str, lines: list[str]) -> None:
        style = "yellow" if stream == "stderr" else ""
        for line in lines:
            self._console.print(Text(line, style=style), soft_wrap=True)

    def render(self) -> "RenderableType":
        """Draw the lower part: what moves."""
        pending = [reader.pending for reader in self._readers.values()]
        rows: list[RenderableType] = [
            Text(line, no_wrap=True, overflow="ellipsis") for line in pending if line
        ]
        rows += [Text(""), self._header()]
        if self._curves:
            rows.append(self._metrics())
        rows.append(self._bar())
        return Group(*rows)

    def _header(self) -> Text:
        dot = " · " if self._unicode else " - "
        header = Text.assemble(
            (self._name, "bold"), dot, (self._state.value, f"bold {STATE_STYLES[self._state]}"),
            no_wrap=True, overflow="ellipsis",
        )  # fmt: skip
        if self._node and self._state is not JobState.QUEUED:
            header.append(f" on {self._node}")
            if self._node in self._jails:
                header.append(f"{dot}jail {self._jails[self._node]}")
        if self._waiting:
            header.append(f"{dot}{self._waiting}", "yellow")
        header.append(f"{dot}{self._job_id}", "dim")
        return header

    def _metrics(self) -> Table:
        table = Table.grid(padding=(0, 2))
        width = min(CURVE_WIDTH_MAX, max(4, self._console.width - 30))
        for name, curve in list(self._curves.items())[:CURVES_MAX]:
            table.add_row(
                Text(name, style="dim"),
                Text(format_number(curve.latest), style="bold"),
                Text(sparkline(curve.points, width) if self._unicode else "", style="cyan"),
            )
        hidden = len(self._curves) - CURVES_MAX
        if hidden > 0:
            table.add_row(Text(f"and {hidden} more", style="dim"))
        return table

    def _bar(self) -> Table:
        table = Table.grid(padding=(0, 2))
        elapsed = 0.0 if self._began is None else self._clock() - self._began
        if self._percent is None:
            waited = format_duration_s(elapsed) if self._began is not None else "waiting to start"
            table.add_row(self._spinner, Text(waited, style="dim"))
            return table
        width = min(BAR_WIDTH_MAX, max(8, self._console.width - 34))
        table.add_row(
            ProgressBar(100, self._percent, width, complete_style="cyan", finished_style="green"),
            Text(f"{self._percent:3.0f} %", style="bold"),
            Text(format_duration_s(elapsed), style="dim"),
            Text(self._remaining(elapsed), style="dim", no_wrap=True),
        )
        return table

    def _remaining(self, elapsed: float) -> str:
        if not self._percent or self._percent >= 100 or elapsed < 1:
            return ""
        return f"about {format_duration_s(elapsed * (100 / self._percent - 1))} left"
