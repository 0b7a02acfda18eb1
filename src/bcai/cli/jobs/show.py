"""`bcai jobs show`: one job, as the network knows it."""

import time
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bcai.cli.audit_rows import audit_rows
from bcai.cli.document import job_document, spec_document
from bcai.cli.figures import format_age
from bcai.cli.find_job import find_job, view_of
from bcai.cli.options import DEFAULT_NETWORK, NetworkOptions
from bcai.cli.session import with_network
from bcai.cli.terminal import is_unicode, print_block, print_json, stdout_console
from bcai.jobs.ballot import Ballot
from bcai.jobs.dispute import Ruling
from bcai.jobs.job import Attempt
from bcai.wire.jobs import JobView

if TYPE_CHECKING:
    from bcai.sdk.async_client import AsyncSDK

JOB_ID = Parameter(help="The job's id, or its beginning or end, or `last`.")


def show_job(
    job_id: Annotated[str, JOB_ID], /, *, options: NetworkOptions = DEFAULT_NETWORK
) -> int:
    """Show one job: its state and why, where it ran, what it may use, its outputs."""

    async def act(client: "AsyncSDK") -> JobView:
        return await view_of(await find_job(client, job_id))

    job = with_network(options, act)
    if options.json:
        print_json({**job_document(job), "spec": spec_document(job.spec)})
    else:
        print_job(job)
    return 0


def print_job(job: JobView) -> None:
    """Print it for people."""
    from rich.padding import Padding
    from rich.text import Text

    from bcai.cli.live_view import STATE_STYLES
    from bcai.cli.summary import print_summary, two_columns

    console = stdout_console()
    if job.state.is_final:
        source, more = job.spec.code, _asked(job)
        print_summary(console, job, curves={}, source=source, more=more, unicode=is_unicode())
        return
    style = f"bold {STATE_STYLES[job.state]}"
    console.print(Text.assemble((job.state.value, style), "  ", (job.name, "bold")))
    rows = [("job", job.id)]
    if job.waiting is not None:
        rows.append(("waits", "; ".join(filter(None, (job.waiting.message, job.waiting.hint)))))
    if job.attempts:
        rows.append(("node", job.attempts[-1].node_name))
    if job.progress:
        rows.append(("progress", f"{job.progress:.0%}"))
    print_block(console, Padding(two_columns([*rows, *_asked(job)]), (0, 0, 0, 2)))


def _asked(job: JobView) -> list[tuple[str, str]]:
    """What was asked for, and each attempt where there were several."""
    spec = spec_document(job.spec)
    jail = job.outcome.jail if job.outcome else None
    rows = [("walls", ", ".join(jail.layers))] if jail and jail.layers else []
    rows += [("lacking", wall) for wall in (jail.missing if jail else ())]
    rows += audit_rows(job.outcome) if job.outcome else []
    rows += [("asked for", f"security level {jail.asked}")] if jail and jail.asked else []
    if job.settlement is not None:
        found = job.settlement
        rows.append(("settlement", f"{found.state.value}: {found.text}"))
        rows += [("by", found.by)] if found.by else []
        rows += [("vouched", f"{each.by} ({each.key})") for each in found.vouchers]
        rows += _disputed(found.dispute) if found.dispute is not None else []
        rows.append(("verify", str(found.verify)))
        rows += [(f"replica {each.number}", _said(each)) for each in found.replicas]
    rows.append(("submitted", f"{format_age(time.time() - job.created_at)} ago"))
    rows.append(("starts", spec["entry"]))
    if spec["requirements"]:
        rows.append(("requires", ", ".join(spec["requirements"])))
    ran_in = job.outcome.environment if job.outcome else None
    if ran_in is not None:
        rows.append(("ran in", f"{ran_in.name}: Python {ran_in.python}, lock {ran_in.lock}"))
    elif spec["environment"]:
        rows.append(("runs in", spec["environment"]))
    return rows + (_attempts(job) if len(job.attempts) > 1 else [])


def _said(ballot: Ballot) -> str:
    """A node's answer: how it ended, the outputs' own digest, who signed."""
    who = f"{ballot.node_name} ({ballot.node_id})" if ballot.node_id else ballot.node_name
    answer = f", answer {ballot.answer[:16]}, signed by {ballot.key[:24]}" if ballot.answer else ""
    return f"{who}: {ballot.text}{answer}"


def _disputed(found: Ruling) -> list[tuple[str, str]]:
    """How the last dispute about the result ended."""
    took = f"{found.messages} messages, {found.nbytes} bytes, {found.seconds:.1f} s"
    rows = [
        ("dispute", f"with {found.challenger}; {' and '.join(found.faulty)} lied [{found.code}]")
    ]
    if found.checkpoint is not None:
        rows.append(("checkpoint", str(found.checkpoint)))
    if found.part is not None:
        rows.append(("part", f"leaf {found.part}: {found.place}"))
    if found.step is not None:
        rows.append(("step", " ".join((str(found.step), found.place))))
    rows += [("operand", operand) for operand in found.operands]
    return [*rows, ("took", took)]


def _attempts(job: JobView) -> list[tuple[str, str]]:
    """One row for each attempt, or for several in a row that ended alike."""
    rows: list[tuple[str, str]] = []
    for how, alike in groupby(job.attempts, _how_it_went):
        numbers = [attempt.number for attempt in alike]
        first, last = numbers[0], numbers[-1]
        rows.append((f"attempt {first}" if first == last else f"attempts {first} to {last}", how))
    return rows


def _how_it_went(attempt: Attempt) -> str:
    return f"{attempt.node_name}: {attempt.reason.message if attempt.reason else 'the current one'}"
