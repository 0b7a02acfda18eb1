"""The end of a job, as people read it: how it went, what came out, where and behind which walls."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bcai.base.units import format_duration_s, format_size
from bcai.base.values import decode_value
from bcai.cli.curve import Curve
from bcai.cli.document import warnings_of
from bcai.cli.excerpt import excerpt
from bcai.cli.figures import format_number
from bcai.cli.sparkline import sparkline
from bcai.cli.terminal import print_block
from bcai.jobs.environment import OWN_NAME
from bcai.jobs.outcome import Outcome, Output
from bcai.jobs.settlement import Settlement, SettlementState
from bcai.jobs.spec import SecurityLevel
from bcai.jobs.states import JobState
from bcai.wire.jobs import JobView

if TYPE_CHECKING:
    from rich.console import Console

CURVE_WIDTH = 24
NUMBERS_MAX = 10
TEXT_MAX = 60
_FIRST = ("loss", "accuracy")  # what everyone looks for
_TELLING_WALLS = ("no network", "read-only", "Landlock", "seccomp", "cgroup")  # `show` has all
_MARKS = {
    JobState.SUCCEEDED: ("✓", "+", "bold green"),
    JobState.FAILED: ("✗", "x", "bold red"),
    JobState.TIMED_OUT: ("✗", "x", "bold red"),
    JobState.CANCELLED: ("■", "-", "bold magenta"),
}


def print_summary(
    console: "Console",
    job: JobView,
    *,
    curves: Mapping[str, Curve],
    source: str | None,
    written: str = "",
    remarks: Sequence[str] = (),
    hint: str = "",
    more: Sequence[tuple[str, str]] = (),
    unicode: bool = True,
) -> None:
    """Print how a job ended.

    Parameters
    ----------
    curves
        The metrics of the last attempt.
    source
        Text of the script that ran, for an excerpt where it failed.
    written
        What was saved and where, in one line.
    remarks
        What else is worth saying about that.
    hint
        What to do about a failure, where we know better than the node.
    more
        Rows to add at the end.
    unicode
        Whether marks and curves beyond ASCII may be used.
    """
    outcome = job.outcome
    console.print()
    console.print(_headline(job, unicode=unicode))
    if outcome is not None and job.state is not JobState.SUCCEEDED:
        _print_reason(console, outcome, source, hint or outcome.reason.hint, unicode=unicode)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(job, outcome, curves, unicode=unicode) if outcome else ():
        table.add_row(name, value)
    if written:
        table.add_row("written", written)
    table.add_row("job", Text(job.id, style="dim"))
    for name, value in more:
        table.add_row(name, Text(value))
    print_block(console, Padding(table, (0, 0, 0, 2)))
    for remark in remarks:
        console.print(Text(f"  {remark}", style="dim"))
    for warning in warnings_of(job):
        console.print(Text.assemble(("  warning: ", "bold yellow"), warning))


def _headline(job: JobView, *, unicode: bool) -> Text:
    mark, plain_mark, style = _MARKS.get(job.state, ("•", "*", "bold"))
    line = Text.assemble((f"{mark if unicode else plain_mark} {job.state.value}", style))
    line.append(f"  {job.name}", "bold")
    if job.started_at is not None and job.finished_at is not None:
        line.append(f" in {format_duration_s(max(0.0, job.finished_at - job.started_at))}")
    return line


def _print_reason(
    console: "Console", outcome: Outcome, source: str | None, hint: str, *, unicode: bool
) -> None:
    console.print(Text(f"  {outcome.reason.message}", style="red"))
    lines = excerpt(source, outcome.user_line) if source and outcome.user_line else []
    if lines:
        console.print()
        arrow, bar = ("▶", "│") if unicode else (">", "|")
        for line in lines:
            style = "bold" if line.is_culprit else "dim"
            mark = (arrow, "bold red") if line.is_culprit else (" ", "")
            console.print(
                Text.assemble("  ", mark, (f" {line.number:4d} {bar} ", "dim"), (line.text, style)),
                soft_wrap=True,
            )
        console.print()
    if hint:
        console.print(Text.assemble(("  hint: ", "bold cyan"), hint))


def _rows(
    job: JobView, outcome: Outcome, curves: Mapping[str, Curve], *, unicode: bool
) -> list[tuple[str, Text]]:
    rows = [
        (name, _number(value, curves.get(name), unicode=unicode))
        for name, value in _numbers(outcome, curves)
    ]
    others = [output for output in outcome.outputs if not _is_number(output)]
    if others:
        rows.append(("outputs", Text(", ".join(_describe(output) for output in others))))
    if job.attempts:
        rows.append(("ran on", _place(job, outcome)))
    if job.settlement is not None and job.settlement.replicas:
        style = "bold yellow" if job.settlement.state is SettlementState.DISPUTED else ""
        rows.append(("checked", Text(_checked(job.settlement), style=style)))
    usage = outcome.usage
    if usage.wall_s:
        used = [f"{format_duration_s(usage.cpu_s)} of processor time"]
        if usage.memory_bytes_peak:
            used.append(f"{format_size(usage.memory_bytes_peak)} of memory")
        if usage.fuel:
            used.append(f"{usage.fuel:,} {'unit' if usage.fuel == 1 else 'units'} of fuel")
        rows.append(("used", Text(", ".join(used))))
    return rows


def _checked(settlement: Settlement) -> str:
    """Who did the job, and what all of them together took."""
    cpu_s = sum(each.cpu_s for each in settlement.replicas)
    together = f"together {format_duration_s(cpu_s)} of processor time"
    return f"{settlement.state.value}: {settlement.text}; {together}"


def _numbers(outcome: Outcome, curves: Mapping[str, Curve]) -> list[tuple[str, float]]:
    """Numeric outputs, and the last value of every metric that no output is named after."""
    found: dict[str, float] = {name: curve.latest for name, curve in curves.items()}
    for output in outcome.outputs:
        if _is_number(output):
            value = decode_value(output.value)
            found[output.name] = value if isinstance(value, int | float) else float("nan")
    order = sorted(found, key=lambda name: (_rank(name), name))
    return [(name, found[name]) for name in order[:NUMBERS_MAX]]


def _rank(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _number(value: float, curve: Curve | None, *, unicode: bool) -> Text:
    text = Text(format_number(value), style="bold")
    if curve is not None and len(curve.points) > 1 and unicode:
        text.append(f"  {sparkline(curve.points, CURVE_WIDTH)}", "cyan")
    return text


def _is_number(output: Output) -> bool:
    value = decode_value(output.value) if output.kind == "value" else None
    return isinstance(value, int | float)


def _describe(output: Output) -> str:
    if output.kind != "value":
        details = [part for part in (output.summary, format_size(output.size)) if part]
        return f"{output.name} ({', '.join(details)})"
    text = output.summary or repr(decode_value(output.value))
    return f"{output.name} = {text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 3] + '...'}"


def _place(job: JobView, outcome: Outcome) -> Text:
    text = Text(job.attempts[-1].node_name)
    if outcome.jail is not None:
        text.append(f", jail {outcome.jail.level}", "bold")
        if outcome.jail.asked not in ("", SecurityLevel.HIGH):
            text.append(f", asked for {outcome.jail.asked}", "bold yellow")
        walls = [wall for wall in outcome.jail.layers if wall.startswith(_TELLING_WALLS)]
        if walls:
            text.append(f" ({', '.join(walls)})", "dim")
    if outcome.environment is not None and outcome.environment.name != OWN_NAME:
        text.append(f", environment {outcome.environment.name}")
    if len(job.attempts) > 1:
        text.append(f", attempt {len(job.attempts)}", "yellow")
    return text


def two_columns(rows: Sequence[tuple[str, str]]) -> Table:
    """Lay out names and texts in two columns."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, Text(text))
    return table
