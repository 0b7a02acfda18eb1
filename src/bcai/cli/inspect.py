"""`bcai inspect`: reads a script or a project, and says what would happen to it in the jail."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from bcai.base.errors import EXIT_OK, EXIT_REFUSED, InputError, NotFoundError
from bcai.base.units import format_count
from bcai.bridge.inspect.finding import SEVERITIES, Audit, Finding, Severity
from bcai.cli.options import DEFAULT_OUTPUT, OutputOptions
from bcai.cli.target import PROGRAM_SUFFIXES
from bcai.cli.terminal import is_unicode, print_json, stdout_console

if TYPE_CHECKING:
    from rich.console import Console

_COLUMNS_MAX = 160
_STYLES = {
    Severity.REFUSED: "bold red",
    Severity.WARNING: "bold yellow",
    Severity.NOTE: "bold cyan",
}
_PLURALS = {Severity.REFUSED: "refused", Severity.WARNING: "warnings", Severity.NOTE: "notes"}
_ADVICE = "This is advice: code can hide from its readers. The wall is the jail."


def inspect(
    target: Annotated[
        str, Parameter(help="A script, a project folder, or a .bcai program with Python in it.")
    ],
    /,
    *,
    options: OutputOptions = DEFAULT_OUTPUT,
) -> int:
    """Read code without running it; 3 if a node would refuse it."""
    audit, lines_of = _audit(Path(target))
    status = EXIT_OK if audit.refusal is None else EXIT_REFUSED
    if options.json:
        print_json(_document(audit, status))
        return status
    console = stdout_console()
    sources: dict[str, list[str]] = {}
    for finding in audit.findings:
        if finding.file not in sources:
            sources[finding.file] = lines_of(finding.file)
        _print_finding(console, finding, sources[finding.file])
    _print_sum(console, audit)
    return status


def _audit(path: Path) -> tuple[Audit, Callable[[str], list[str]]]:
    """Inspect what `bcai run` would send; return also what gives the lines of a file in it."""
    from bcai.bridge.inspect.inspect import inspect_code, inspect_files
    from bcai.cli.project import read_project
    from bcai.sdk.folder import project_files

    if path.is_dir():
        files = {file.path: (file.size, file.source.read_bytes) for file in project_files(path)}
        return inspect_files(files, read_project(path).entry), partial(_lines, path)
    if not path.is_file():
        raise NotFoundError(f"there is no file or folder {str(path)!r}")
    if path.suffix in PROGRAM_SUFFIXES:
        return _audit_of_program(path)
    if path.suffix != ".py":
        raise InputError(
            f"{path}: expected a Python script (.py), a project folder or a program (.bcai)"
        )
    return inspect_code(path.read_bytes(), path.name), partial(_lines, path.parent)


def _audit_of_program(path: Path) -> tuple[Audit, Callable[[str], list[str]]]:
    from bcai.bridge.code_of_program import code_of_program
    from bcai.bridge.inspect.program_code import inspect_program_code
    from bcai.sdk.program import read_program

    codes = code_of_program(read_program(path).program)
    lines = {each.name: each.code.split("\n") for each in codes}
    return inspect_program_code(codes), lines.__getitem__


def _lines(folder: Path, name: str) -> list[str]:
    return (folder / name).read_bytes().decode("utf-8", "replace").split("\n")


def _print_finding(console: "Console", finding: Finding, lines: list[str]) -> None:
    from rich.text import Text

    style = _STYLES[finding.severity]
    console.print(
        Text.assemble(
            (finding.place, "bold"), ": ", (f"{finding.severity}: ", style), finding.message,
            (f"  [{finding.rule}]", "dim"),
        ),
        soft_wrap=True,
    )  # fmt: skip
    if 1 <= finding.line <= len(lines):
        line = lines[finding.line - 1].rstrip("\r")
        start = max(0, finding.column - _COLUMNS_MAX // 2)
        shown = "".join(sign if sign.isprintable() else " " for sign in line)
        bar = "│" if is_unicode() else "|"
        text = shown[start : start + _COLUMNS_MAX]
        console.print(Text.assemble((f"{finding.line:6d} {bar} ", "dim"), text), soft_wrap=True)
        caret = " " * (finding.column - 1 - start) + "^"
        console.print(Text.assemble((f"{'':6} {bar} ", "dim"), (caret, style)), soft_wrap=True)
    if finding.hint:
        console.print(Text.assemble(("  hint: ", "bold cyan"), finding.hint), soft_wrap=True)


def _print_sum(console: "Console", audit: Audit) -> None:
    from rich.text import Text

    for text in audit.unseen:
        console.print(Text.assemble(("not seen: ", "bold"), text), soft_wrap=True)
    found = ", ".join(_counted(audit.counts.get(name, 0), name) for name in SEVERITIES)
    more = sum(audit.counts.values()) - len(audit.findings)
    rest = f" ({more} not shown)" if more else ""
    console.print(Text(f"{format_count(audit.files, 'file')} read: {found}{rest}"))
    console.print(Text(_ADVICE, style="dim"), soft_wrap=True)


def _counted(count: int, severity: Severity) -> str:
    """`1 warning`, `2 warnings`."""
    return f"{count} {severity.value if count == 1 else _PLURALS[severity]}"


def _document(audit: Audit, status: int) -> dict[str, Any]:
    return {
        "findings": [asdict(finding) for finding in audit.findings],
        "counts": audit.counts,
        "unseen": list(audit.unseen),
        "files": audit.files,
        "exit_status": status,
    }
