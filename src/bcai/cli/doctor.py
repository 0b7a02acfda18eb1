"""`bcai doctor`: what this machine can do, what is missing, and how to get it."""

from dataclasses import asdict

from bcai.base.errors import EXIT_OK, EXIT_REFUSED
from bcai.cli.finding import Finding, Health
from bcai.cli.health import examine
from bcai.cli.options import DEFAULT_OUTPUT, OutputOptions
from bcai.cli.terminal import is_unicode, print_block, print_json, stdout_console
from bcai.settings import read_settings

_MARKS = {
    Health.OK: ("✓", "ok", "green"),
    Health.OPTIONAL: ("·", "--", "yellow"),
    Health.MISSING: ("✗", "!!", "bold red"),
}


def doctor(*, options: OutputOptions = DEFAULT_OUTPUT) -> int:
    """Look at this machine: Python, torch, GPU, the jail's walls, disk, network, optional parts."""
    findings = examine(read_settings())
    can_run = all(finding.health is not Health.MISSING for finding in findings)
    if options.json:
        print_json({"can_run_jobs": can_run, "findings": [asdict(found) for found in findings]})
    else:
        _print(findings, can_run=can_run)
    return EXIT_OK if can_run else EXIT_REFUSED


def _print(findings: list[Finding], *, can_run: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    console, unicode = stdout_console(), is_unicode()
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for finding in findings:
        mark, plain_mark, style = _MARKS[finding.health]
        text = Text(finding.found)
        if finding.remedy:
            text.append(f"\n{finding.remedy}", "dim" if can_run else "yellow")
        table.add_row(Text(mark if unicode else plain_mark, style=style), finding.name, text)
    print_block(console, table)
    if can_run:
        console.print("\nJobs can run here.", style="bold green")
    else:
        console.print("\nJobs cannot run here until what is marked above is there.", style="red")
