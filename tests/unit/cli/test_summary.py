import io
import math
from typing import Any

from rich.console import Console
from tests.unit.cli.sample_jobs import SUCCESS, failure, job

from bcai.cli.curve import Curve
from bcai.cli.summary import print_summary
from bcai.jobs.outcome import Output
from bcai.wire.jobs import JobView


def summary(view: JobView, *, width: int = 100, **more: object) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    options: dict[str, Any] = {"curves": dict[str, Curve](), "source": view.spec.code, **more}
    print_summary(console, view, **options)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_success_says_what_came_out_and_where_it_ran() -> None:
    text = summary(job())
    for part in ("SUCCEEDED", "digits in 6.4 s", "0.0112", "0.9806", "box, jail B", "seccomp"):
        assert part in text
    assert "model (6 tensors, 112.5 KiB)" in text
    assert "note = 'fine'" in text


def test_loss_and_accuracy_come_first() -> None:
    outputs = (Output("alpha", "value", value=1), *SUCCESS.outputs)
    text = summary(job(SUCCESS.__class__(SUCCESS.move, SUCCESS.reason, outputs)))
    assert text.index("loss") < text.index("accuracy") < text.index("alpha")


def test_a_metric_without_an_output_of_its_name_is_shown_too() -> None:
    curve = Curve()
    for value in (3.0, 2.0, 1.5):
        curve.add(value)
    text = summary(job(), curves={"rate": curve})
    assert "rate" in text
    assert "1.5" in text
    assert "█" in text
    assert "█" not in summary(job(), curves={"rate": curve}, unicode=False)


def test_a_failure_shows_the_line_and_a_hint() -> None:
    ended = failure("ZeroDivisionError: division by zero (job.py, line 3)", user_line=3)
    text = summary(job(ended))
    assert "FAILED" in text
    assert "division by zero" in text
    assert "▶    3 │ z = 1 / 0" in text
    assert "hint: do better" in text


def test_square_brackets_of_a_user_are_not_markup() -> None:
    text = summary(job(failure("KeyError: '[red]x[/]'"), name="[bold]job[/bold]"))
    assert "[red]x[/]" in text
    assert "[bold]job[/bold]" in text


def test_a_loss_that_is_not_a_number_is_shown_as_such() -> None:
    outputs = (Output("loss", "value", value={"$number": "nan"}),)
    assert "nan" in summary(job(SUCCESS.__class__(SUCCESS.move, SUCCESS.reason, outputs)))
    curve = Curve()
    curve.add(math.nan)
    assert "nan" in summary(job(), curves={"norm": curve})


def test_warnings_are_each_said_once() -> None:
    assert summary(job(warnings=("ran on the CPU",))).count("ran on the CPU") == 1


def test_it_fits_a_narrow_terminal() -> None:
    text = summary(job(failure("x" * 300)), width=40)
    assert max(len(line) for line in text.splitlines()) <= 40
