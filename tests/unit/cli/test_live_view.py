import io
from typing import Literal

from rich.console import Console
from tests.unit.cli.sample_jobs import job

from bcai.cli.live_view import LiveView
from bcai.jobs.states import JobState
from bcai.sdk.events import LogEvent, MetricEvent, NoteEvent, ProgressEvent, StateEvent


class Screen:
    """A live view and what it draws, without a terminal or a clock of its own."""

    def __init__(self, width: int = 80) -> None:
        self.now = 0.0
        self.console = Console(file=io.StringIO(), width=width, force_terminal=False)
        self.view = LiveView(self.console, clock=lambda: self.now)
        self.view.submitted(job(None, attempts=()), {"box": "A"})

    @property
    def printed(self) -> str:
        assert isinstance(self.console.file, io.StringIO)
        return self.console.file.getvalue()

    def drawn(self) -> str:
        with self.console.capture() as captured:
            self.console.print(self.view.render())
        return captured.get()

    def log(self, text: str, stream: Literal["stdout", "stderr"] = "stdout") -> None:
        self.view.event(LogEvent(1, 0.0, 1, stream, text))

    def running(self, attempt: int = 1) -> None:
        self.view.event(StateEvent(1, 0.0, attempt, JobState.RUNNING, node="box"))


def test_lines_scroll_and_the_unfinished_one_is_drawn() -> None:
    screen = Screen()
    screen.log("one\ntw")
    assert "one" in screen.printed
    assert "tw" in screen.drawn()
    screen.view.close()
    assert "tw" in screen.printed


def test_a_progress_bar_of_the_job_does_not_scroll() -> None:
    screen = Screen()
    for percent in range(100):
        screen.log(f"\r{percent}%|####", "stderr")
    assert "99%|####" in screen.drawn()
    assert "98%|####" not in screen.printed
    screen.view.close()
    assert screen.printed.count("%|####") == 1


def test_a_spinner_turns_until_the_job_tells_its_progress() -> None:
    screen = Screen()
    assert "waiting to start" in screen.drawn()
    screen.running()
    screen.now = 3.0
    assert "3.0 s" in screen.drawn()
    screen.view.event(ProgressEvent(2, 0.0, 1, 25.0))
    assert "25 %" in screen.drawn()
    assert "about 9.0 s left" in screen.drawn()


def test_the_header_names_job_node_and_jail() -> None:
    screen = Screen()
    screen.running()
    for part in ("digits", "RUNNING on box", "jail A", "job_01"):
        assert part in screen.drawn()


def test_metrics_show_their_latest_value() -> None:
    screen = Screen()
    screen.running()
    for step, loss in enumerate((2.0, 1.0, 0.5)):
        screen.view.event(MetricEvent(1, 0.0, 1, step, {"loss": loss}))
    assert "0.5000" in screen.drawn()


def test_another_attempt_starts_from_the_beginning() -> None:
    screen = Screen()
    screen.running()
    screen.view.event(ProgressEvent(2, 0.0, 1, 80.0))
    screen.view.event(MetricEvent(1, 0.0, 1, 1, {"loss": 9.0}))
    screen.view.event(StateEvent(3, 0.0, 1, JobState.QUEUED, reason="the node was lost"))
    assert "the node was lost" in screen.printed
    screen.running(attempt=2)
    assert "80 %" not in screen.drawn()
    assert "loss" not in screen.drawn()


def test_square_brackets_are_text() -> None:
    screen = Screen()
    screen.log("[bold]x[/bold] [/] [link=a]\n")
    screen.view.event(NoteEvent(1, 0.0, 1, "[red]note[/red]"))
    screen.view.close()
    assert "[bold]x[/bold] [/] [link=a]" in screen.printed
    assert "[red]note[/red]" in screen.printed


def test_it_fits_a_narrow_terminal() -> None:
    screen = Screen(width=30)
    screen.running()
    screen.log("x" * 100)
    screen.view.event(MetricEvent(1, 0.0, 1, 1, {"a_rather_long_metric_name": 1.0}))
    screen.view.event(ProgressEvent(2, 0.0, 1, 50.0))
    assert max(len(line) for line in screen.drawn().splitlines()) <= 30
    screen.view.close()
