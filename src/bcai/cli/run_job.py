"""One job from its submission to its summary."""

import re
import shlex
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from bcai.base.errors import EXIT_FAILED, EXIT_OK, EXIT_REFUSED, BcaiError
from bcai.cli.document import job_document
from bcai.cli.excerpt import file_of
from bcai.cli.follow import follow
from bcai.cli.notices import notices_to
from bcai.cli.report import report_as_json, report_to_people
from bcai.cli.results_folder import save_to_folder
from bcai.cli.target import Target
from bcai.cli.terminal import is_live, print_json, say, summary_console
from bcai.cli.view import PlainView, View
from bcai.jobs.outcome import ReasonCode
from bcai.jobs.settlement import SettlementState
from bcai.jobs.states import JobState
from bcai.jobs.verify import NO_CHECK
from bcai.sdk.async_client import AsyncSDK
from bcai.sdk.async_job import AsyncJob
from bcai.wire.jobs import JobView

if TYPE_CHECKING:
    from bcai.cli.run import RunOptions

EXIT_LEFT = 130  # the user left with Ctrl-C while the job goes on
_REFUSED = "policy."
_MODULE = re.compile(r"No module named '(?P<name>\w+)")


def run_job(target: Target, fields: dict[str, Any], options: "RunOptions") -> int:
    """Submit the job, show it to its end, save and sum up; return the exit status."""
    return anyio.run(partial(_run, target, fields, options))


async def _run(target: Target, fields: dict[str, Any], options: "RunOptions") -> int:
    view = _view(options)
    with notices_to(view.note):
        async with AsyncSDK(options.endpoint, options.api_key) as client:
            job = await _submit(client, fields, view)
            submitted = await job.refresh()
            if options.detach:
                return _detached(submitted, as_json=options.json)
            view.submitted(submitted, await _jails(client))
            try:
                result = await follow(job, view)
            except BrokenPipeError:
                say(f"the pipe is closed; the job goes on: bcai jobs logs {job.id}")
                raise
            finally:
                view.close()
            if result is None:
                say(f"the job goes on; come back to it: bcai jobs logs -f {job.id}")
                return EXIT_LEFT
            if options.out is not None:
                await result.outputs.load()
    saved = None if options.out is None else save_to_folder(result, options.out)
    if options.json:
        report_as_json(result, saved)
    else:
        source = _failing_source(target, result.job)
        hint = _own_hint(target, result.job)
        report_to_people(summary_console(), result, source=source, saved=saved, hint=hint)
    return exit_status_of(result.job)


def exit_status_of(job: JobView) -> int:
    """0 if the job succeeded, 3 if a policy refused it, else 1; so too if its nodes disagree."""
    if job.state is JobState.SUCCEEDED:
        disputed = job.settlement is not None and job.settlement.state is SettlementState.DISPUTED
        return EXIT_FAILED if disputed else EXIT_OK
    code = job.reason.code.value if job.reason else ""
    return EXIT_REFUSED if code.startswith(_REFUSED) else EXIT_FAILED


def _failing_source(target: Target, job: JobView) -> str | None:
    """Return the text of the user's file that the reason names."""
    message = job.reason.message if job.reason else ""
    return target.source(file_of(message) or target.entry)


def _own_hint(target: Target, job: JobView) -> str:
    """Say what the node cannot know: that the missing module is on this machine."""
    if job.reason is None or job.reason.code is not ReasonCode.MISSING_IMPORT:
        return ""
    module = _MODULE.search(job.reason.message)
    missing = target.left_behind(module["name"]) if module else None
    if missing is None or target.script is None:
        return ""
    return (
        f"{missing} is on this machine, but a script travels alone; send the folder: "
        f"bcai run {shlex.quote(str(target.script.parent))} (it starts at main.py, or at `entry` "
        "in its bcai.toml)"
    )


def _view(options: "RunOptions") -> View:
    if options.json or not is_live():
        return PlainView(stdout_is_free=not options.json)
    from bcai.cli.live_view import LiveView

    return LiveView()


async def _submit(client: AsyncSDK, fields: dict[str, Any], view: View) -> AsyncJob:
    if "program" in fields:
        job = client.create_program_job(**fields)
    elif "module" in fields:
        job = client.create_wasm_job(**fields)
    else:
        job = client.create_job(**fields)
    cost = job.estimate()
    if cost.verify != NO_CHECK.policy:
        view.note(f"verify {cost.verify}: {cost.text}")
    with view.waiting("connecting and sending the job"):
        await client.connect()
        return await job.submit()


async def _jails(client: AsyncSDK) -> dict[str, str]:
    """Return the level of each node's jail; a view can do without."""
    try:
        return {node.name: node.capabilities.jail.level for node in await client.nodes()}
    except BcaiError:
        return {}


def _detached(job: JobView, *, as_json: bool) -> int:
    if as_json:
        print_json(job_document(job))
    else:
        say(f"{job.name}: submitted; follow it: bcai jobs logs -f {job.id}")
        print(job.id)  # noqa: T201 - stdout is the answer
    return EXIT_OK
