"""`bcai jobs logs`: what a job printed, and with -f what it prints."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bcai.base.errors import EXIT_OK
from bcai.cli.find_job import find_job, view_of
from bcai.cli.jobs.show import JOB_ID
from bcai.cli.options import DEFAULT_NETWORK, NetworkOptions
from bcai.cli.session import with_network
from bcai.cli.terminal import print_json, say
from bcai.cli.view import PlainView
from bcai.sdk.events import LogEvent, typed_event
from bcai.sdk.stream import stored_events

if TYPE_CHECKING:
    from bcai.sdk.async_client import AsyncSDK
    from bcai.sdk.async_job import AsyncJob


def show_logs(
    job_id: Annotated[str, JOB_ID],
    /,
    *,
    follow: Annotated[
        bool,
        Parameter(name=("--follow", "-f"), negative="", help="Go on until the job ends."),
    ] = False,
    options: NetworkOptions = DEFAULT_NETWORK,
) -> int:
    """Print what a job printed: its stdout on stdout, its stderr on stderr.

    With --json: one document with a list of `{"at", "stream", "text"}`; with -f too, one such
    object per line as it comes. Leaving with Ctrl-C does not touch the job.
    """

    async def act(client: "AsyncSDK") -> int:
        job = await find_job(client, job_id)
        if follow:
            await _follow(job, as_json=options.json)
        else:
            await _print_stored(client, job, as_json=options.json)
        return EXIT_OK

    return with_network(options, act)


async def _follow(job: "AsyncJob", *, as_json: bool) -> None:
    view = PlainView()
    async with aclosing(job.events()) as events:
        async for event in events:
            if not as_json:
                view.event(event)
            elif isinstance(event, LogEvent):
                print_json(_document(event))
    ended = await view_of(job)
    if not as_json and ended.reason is not None:
        say(f"{ended.state}: {ended.reason.message}")


async def _print_stored(client: "AsyncSDK", job: "AsyncJob", *, as_json: bool) -> None:
    view = PlainView()
    logs: list[dict[str, object]] = []
    async with aclosing(stored_events(client.transport, job.id, 0)) as pages:
        async for page in pages:
            for event in map(typed_event, page):
                if as_json and isinstance(event, LogEvent):
                    logs.append(_document(event))
                elif isinstance(event, LogEvent):
                    view.event(event)
    if as_json:
        print_json({"id": job.id, "state": job.status, "logs": logs})


def _document(event: LogEvent) -> dict[str, object]:
    return {"at": event.at, "stream": event.stream, "text": event.text}
