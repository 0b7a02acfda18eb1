"""How a job that ended is told: as a summary for people, or as a document."""

from pathlib import Path
from typing import TYPE_CHECKING

from bcai.cli.curve import Curve
from bcai.cli.document import job_document
from bcai.cli.results_folder import Saved
from bcai.cli.terminal import is_unicode, print_json, say
from bcai.sdk.result import Result

if TYPE_CHECKING:
    from rich.console import Console


def report_as_json(result: Result, saved: Saved | None) -> None:
    """Print the document of a result."""
    for remark in saved.remarks if saved else ():
        say(remark)
    files = [str(saved.folder / name) for name in saved.files] if saved else []
    print_json(job_document(result.job, metrics=result.metrics, files=files))


def report_to_people(
    console: "Console", result: Result, *, source: str | None, saved: Saved | None, hint: str = ""
) -> None:
    """Print the summary of a result; `source` is the text of the script that ran."""
    from bcai.cli.summary import print_summary

    print_summary(
        console,
        result.job,
        curves=_curves(result),
        source=source,
        written=f"{_folder(saved.folder)}  {', '.join(saved.files)}"
        if saved and saved.files
        else "",
        remarks=saved.remarks if saved else (),
        hint=hint,
        unicode=is_unicode(),
    )


def _curves(result: Result) -> dict[str, Curve]:
    """Return the metrics of the attempt that counts, by name."""
    curves: dict[str, Curve] = {}
    for metric in result.metrics:
        for name, value in metric.items():
            if name != "step" and value is not None:
                curves.setdefault(name, Curve()).add(value)
    return curves


def _folder(path: Path) -> str:
    return f"{str(path).rstrip('/')}/"
