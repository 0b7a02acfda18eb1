"""What stands on record about a job that ended: why, within which limits, what it used."""

from bcai.base.units import format_duration_s, format_size
from bcai.jobs.outcome import Outcome, Usage


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
        counts = [f"{count} {severity}" for severity, count in audit.counts.items() if count]
        files = "1 file" if audit.files == 1 else f"{audit.files} files"
        rows.append(("inspection", f"{', '.join(counts) or 'nothing found'} in {files}"))
    return rows


def _at_most(usage: Usage) -> list[str]:
    """What was in use at once, and what left."""
    found = [
        (usage.memory_bytes_peak, f"{format_size(usage.memory_bytes_peak)} of memory"),
        (usage.disk_bytes_peak, f"{format_size(usage.disk_bytes_peak)} of files"),
        (usage.inodes_peak, f"{usage.inodes_peak} files and folders"),
        (usage.processes_peak, f"{usage.processes_peak} processes and threads"),
        (usage.log_bytes, f"{format_size(usage.log_bytes)} printed"),
        (usage.output_bytes, f"{format_size(usage.output_bytes)} of outputs"),
    ]
    return [text for value, text in found if value]


def _limit(name: str, value: float) -> str:
    """`memory 2.0 GiB` for `memory_bytes`."""
    if name.endswith("_bytes"):
        return f"{name.removesuffix('_bytes')} {format_size(int(value))}"
    if name.endswith("_s"):
        return f"{name.removesuffix('_s')} {format_duration_s(value)}"
    return f"{name.replace('_', ' ')} {value:.0f}"
