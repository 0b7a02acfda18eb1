"""What stands on record about a job that ended: why, within which limits, what it used."""

from bcai.base.units import format_count, format_duration_s, format_limit, format_size
from bcai.bridge.inspect.finding import Audit, Severity
from bcai.jobs.outcome import Outcome, Usage

_FINDINGS_MAX = 10


def audit_rows(outcome: Outcome) -> list[tuple[str, str]]:
    """Names and texts; what nobody measured is left out."""
    rows = [("reason", outcome.reason.code.value)]
    jail = outcome.jail
    if jail is not None and jail.start:
        rows.append(("started", jail.start))
    if jail is not None and jail.limits:
        limits = ", ".join(_limit(name, value) for name, value in sorted(jail.limits.items()))
        rows.append(("limits", limits))
    at_most = _at_most(outcome.usage)
    if at_most:
        rows.append(("at most", ", ".join(at_most)))
    audit = outcome.audit
    if audit is not None:
        counts = [
            f"{count} {name}" if name == Severity.REFUSED else format_count(count, name)
            for name, count in audit.counts.items()
            if count
        ]
        found = f"{', '.join(counts) or 'nothing found'} in {format_count(audit.files, 'file')}"
        rows.append(("inspection", found))
        rows += _findings(audit)
    return rows


def _findings(audit: Audit) -> list[tuple[str, str]]:
    """The worst of what was found, each with its place."""
    shown = audit.findings[:_FINDINGS_MAX]
    rows = [("", f"{each.place}: {each.severity}: {each.message}") for each in shown]
    more = sum(audit.counts.values()) - len(shown)
    if more > 0:
        rows.append(("", f"and {more} more: see --json, which keeps {len(audit.findings)}"))
    return rows + [("", f"not seen: {text}") for text in audit.unseen]


def _at_most(usage: Usage) -> list[str]:
    """What was in use at once, and what left."""
    found = [
        (usage.memory_bytes_peak, f"{format_size(usage.memory_bytes_peak)} of memory"),
        (usage.disk_bytes_peak, f"{format_size(usage.disk_bytes_peak)} of files"),
        (usage.inodes_peak, _files(usage.inodes_peak)),
        (usage.processes_peak, _processes(usage.processes_peak)),
        (usage.log_bytes, f"{format_size(usage.log_bytes)} printed"),
        (usage.output_bytes, f"{format_size(usage.output_bytes)} of outputs"),
    ]
    return [text for value, text in found if value]


def _files(count: int) -> str:
    return "1 file or folder" if count == 1 else f"{count} files and folders"


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes and threads"


def _limit(name: str, value: float) -> str:
    """`memory 2.0 GiB` for `memory_bytes`."""
    if name.endswith("_bytes"):
        return f"{name.removesuffix('_bytes')} {format_limit(int(value))}"
    if name.endswith("_s"):
        return f"{name.removesuffix('_s')} {format_duration_s(value)}"
    return f"{name.replace('_', ' ')} {value:.0f}"
