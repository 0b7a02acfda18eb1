"""What is known so far of a job's events: its log text, metrics and progress."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bcai.jobs.job import JobEvent
from bcai.sdk.events import LogEvent, MetricEvent, ProgressEvent, typed_event

Metric = dict[str, float | int | None]


@dataclass(slots=True)
class History:
    """Events up to the cursor `after`, each taken in once and in order."""

    after: int = 0
    percent: float = 0.0
    _attempt: int = 0
    _text: list[str] = field(default_factory=list[str])
    _metrics: list[tuple[int, Metric]] = field(default_factory=list[tuple[int, Metric]])

    def absorb(self, events: Sequence[JobEvent]) -> None:
        """Take in the events that follow the cursor; others are known, or come later."""
        for event in events:
            if event.sequence != self.after + 1:
                continue
            self.after = event.sequence
            if event.attempt > self._attempt:
                self._attempt, self.percent = event.attempt, 0.0
            match typed_event(event):
                case LogEvent(text=text):
                    self._text.append(text)
                case MetricEvent(attempt=attempt, step=step, values=values):
                    self._metrics.append((attempt, {"step": step, **values}))
                case ProgressEvent(percent=percent):
                    self.percent = percent
                case _:
                    pass

    @property
    def logs(self) -> str:
        """What the job wrote, all attempts in order."""
        if len(self._text) > 1:
            self._text[:] = ["".join(self._text)]
        return self._text[0] if self._text else ""

    @property
    def metrics(self) -> list[Metric]:
        """What the latest attempt logged, as `{"step": ..., name: value}`."""
        return [dict(metric) for attempt, metric in self._metrics if attempt == self._attempt]
