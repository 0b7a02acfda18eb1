"""A receipt for people: lines for a terminal, or one page that needs nothing else."""

from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from bcai.base.errors import InputError
from bcai.base.units import format_count, format_size
from bcai.cli.terminal import say, stdout_console

if TYPE_CHECKING:
    from bcai.proof.check import Report
    from bcai.proof.receipt import Receipt

Rows = list[tuple[str, str]]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1b1b; background: #fff }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0;
  border-bottom: 1px solid #ddd; overflow-wrap: anywhere }
th { font-weight: 600; white-space: nowrap } code { font-size: .85em }
.good { color: #11691b } .bad { color: #b00020 }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #161616 }
  th, td { border-color: #444 } .good { color: #7bd88a } .bad { color: #ff8a8a } }
"""


def receipt_rows(receipt: "Receipt", size: int) -> Rows:
    """What a receipt says, line by line."""
    from bcai.proof.keys import key_id
    from bcai.proof.run import Batches

    run, at = receipt.run, receipt.commitment
    feed = run.feed
    inputs = (
        f"batches of {feed.batch_size} of {feed.rows} rows, "
        + ("shuffled in every epoch" if feed.shuffle else "in the data's order")
        if isinstance(feed, Batches)
        else f"the same in every step: {', '.join(feed.names) or 'none'}"
    )
    client = "not signed" if receipt.spec is None else key_id(receipt.spec.client)
    usage = at.usage
    instructions = format_count(len(receipt.program.instructions), "instruction")
    memory = format_size(usage.memory_bytes_peak)
    return [
        ("job", at.job_id),
        ("evidence", at.evidence.value),
        ("program", f"{instructions}, {run.program_root.hex()}"),
        ("run", run.digest.hex()),
        ("steps", f"{run.steps}, a checkpoint every {run.checkpoint_every}"),
        ("inputs", inputs),
        ("seed", str(run.seed)),
        ("trace", f"{format_count(at.trace.size, 'checkpoint')}, {at.trace.root.hex()}"),
        ("final state", at.final_state.hex()),
        ("client", client),
        ("node", key_id(at.node)),
        ("backend", f"{at.backend}: {at.device}"),
        ("jail (claimed)", f"{at.jail_level}: {', '.join(at.jail_layers) or 'no layer'}"),
        ("used (claimed)", f"{usage.wall_s:.1f} s, {usage.cpu_s:.1f} s of processor, {memory}"),
        ("time (claimed)", claimed_time(at.claimed_at)),
        ("size", format_size(size)),
    ]


def receipt_page(receipt: "Receipt", report: "Report", rows: Rows) -> str:
    """One HTML page, with its style inside and no script."""
    outputs = "".join(
        row_of(each.name, f"{each.type} {each.hash.hex()}") for each in receipt.commitment.outputs
    )
    return wrapped_page(escape(receipt.commitment.job_id), report, rows, outputs)


def print_checked(report: "Report", what: str, size: int, took_s: float, held: str) -> None:
    """Print how a check of `what` came out; `held` is what of the user's it was held against."""
    console = stdout_console()
    verdict = "fits together" if report.is_clean else "DOES NOT FIT"
    text = f"{verdict}: {what}; {format_size(size)}, checked in {took_s * 1e3:.1f} ms"
    console.print(text, markup=False, soft_wrap=True)
    if held:
        console.print(f"held against what you have: {held}", markup=False)
    print_findings(report)


def print_findings(report: "Report") -> None:
    """Print what does not fit, and what was not looked at."""
    console = stdout_console()
    for each in report.findings:
        console.print(f"finding {each.name}: {each.message}", markup=False, soft_wrap=True)
    for text in report.unchecked:
        console.print(f"not checked: {text}", markup=False, soft_wrap=True)


def wrapped_page(job: str, report: "Report", rows: Rows, outputs: str, sections: str = "") -> str:
    """The page of a receipt of whichever kind; `job`, `outputs` and `sections` are HTML."""
    good = report.is_clean
    verdict = "Everything fits together" if good else "Something does not fit"
    findings = "".join(
        f"<li class=bad><code>{escape(each.name)}</code> {escape(each.message)}</li>"
        for each in report.findings
    )
    unchecked = "".join(f"<li>{escape(text)}</li>" for text in report.unchecked)
    body = "".join(row_of(title, value) for title, value in rows)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Receipt of {job}</title><style>{_STYLE}</style>"
        f"<h1>Receipt of {job}</h1>"
        f"<p class={'good' if good else 'bad'}><strong>{verdict}.</strong> "
        "A page proves nothing: <code>bcai receipt check FILE</code> does.</p>"
        f"<ul>{findings}</ul><h2>What it says</h2><table>{body}</table>{sections}"
        f"<h2>Outputs</h2><table>{outputs}</table>"
        f"<h2>Not checked</h2><ul>{unchecked}</ul></html>\n"
    )


def row_of(title: str, value: str) -> str:
    """A row of a page's table."""
    return f"<tr><th>{escape(title)}</th><td><code>{escape(value)}</code></td></tr>"


def write_page(path: Path, text: str) -> None:
    """Write a page, and say so. Raises InputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise InputError(f"--html {path}: cannot be written: {error.strerror}") from error
    say(f"written: {path}")


def claimed_time(seconds: float) -> str:
    """A time that a node claims, whatever it is."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s since 1970"
