"""`bcai jobs list`: jobs, newest first."""

import time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from bcai.base.errors import InputError
from bcai.base.suggest import did_you_mean
from bcai.cli.figures import format_age
from bcai.cli.options import DEFAULT_NETWORK, NetworkOptions
from bcai.cli.session import with_network
from bcai.cli.terminal import print_block, print_json, stdout_console
from bcai.jobs.states import JobState
from bcai.wire.jobs import JobSummary

if TYPE_CHECKING:
    from bcai.sdk.async_client import AsyncSDK

_EVERY_JOB = 1_000_000


def list_jobs(
    *,
    state: Annotated[
        str | None, Parameter(help="Only jobs in this state, such as RUNNING.")
    ] = None,
    limit: Annotated[
        int, Parameter(validator=validators.Number(gte=1), help="How many at most.")
    ] = 20,
    all_pages: Annotated[
        bool, Parameter(name="--all", negative="", help="Every job, however many.")
    ] = False,
    options: NetworkOptions = DEFAULT_NETWORK,
) -> int:
    """List jobs, newest first."""
    wanted = None if state is None else _state(state)

    async def act(client: "AsyncSDK") -> list[JobSummary]:
        jobs = await client.list_jobs(state=wanted, limit=_EVERY_JOB if all_pages else limit)
        return [job.summary for job in jobs if job.summary is not None]

    jobs = with_network(options, act)
    if options.json:
        print_json([_document(job) for job in jobs])
    elif jobs:
        _print(jobs)
    else:
        stdout_console().print("no jobs" + (f" in state {wanted}" if wanted else " yet"))
    return 0


def _state(text: str) -> JobState:
    try:
        return JobState(text.upper().replace("-", "_"))
    except ValueError:
        names = [state.value for state in JobState]
        near = did_you_mean(text.upper(), names)
        raise InputError(f"--state: found {text!r}{near}; known: {', '.join(names)}") from None


def _print(jobs: list[JobSummary]) -> None:
    from rich.table import Table
    from rich.text import Text

    from bcai.cli.live_view import STATE_STYLES

    now = time.time()
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("ID", no_wrap=True)
    table.add_column("NAME", no_wrap=True, overflow="ellipsis", max_width=30)
    table.add_column("STATE", no_wrap=True)
    table.add_column("AGE", no_wrap=True, justify="right")
    table.add_column("TOOK", no_wrap=True, justify="right")
    for job in jobs:
        state = Text(job.state.value, style=STATE_STYLES[job.state])
        if job.state is JobState.RUNNING and job.progress:
            state.append(f" {job.progress:.0%}")
        table.add_row(job.id, Text(job.name), state, format_age(now - job.created_at), _took(job))
    print_block(stdout_console(), table)


def _took(job: JobSummary) -> str:
    if job.started_at is None or job.finished_at is None:
        return ""
    return f"{max(0.0, job.finished_at - job.started_at):.1f}s"


def _document(job: JobSummary) -> dict[str, object]:
    reason = job.reason or job.waiting
    return {
        "id": job.id,
        "name": job.name,
        "state": job.state.value,
        "progress": job.progress,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "reason": None
        if reason is None
        else {"code": reason.code.value, "message": reason.message, "hint": reason.hint},
        "warnings": list(job.warnings),
    }
