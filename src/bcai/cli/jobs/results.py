"""`bcai jobs results`: a job's outputs, to look at or to keep."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bcai.base.errors import ConflictError
from bcai.cli.find_job import find_job, view_of
from bcai.cli.jobs.show import JOB_ID
from bcai.cli.make_folder import make_folder
from bcai.cli.options import DEFAULT_NETWORK, NetworkOptions
from bcai.cli.report import report_as_json, report_to_people
from bcai.cli.results_folder import save_to_folder
from bcai.cli.run_job import exit_status_of
from bcai.cli.session import with_network
from bcai.cli.terminal import stdout_console
from bcai.sdk.result import Result

if TYPE_CHECKING:
    from bcai.sdk.async_client import AsyncSDK


def show_results(
    job_id: Annotated[str, JOB_ID],
    /,
    *,
    out: Annotated[
        Path | None, Parameter(help="Folder for the outputs, the metrics and their curves.")
    ] = None,
    options: NetworkOptions = DEFAULT_NETWORK,
) -> int:
    """Show how a job ended and what it left; with --out, save that.

    The exit status is the job's: 0 if it succeeded, 1 if not, 3 if a policy refused it.
    """

    async def act(client: "AsyncSDK") -> Result:
        job = await find_job(client, job_id)
        view = await view_of(job)
        if not view.state.is_final:
            raise ConflictError(
                f"{view.id} is {view.state}: there are no results yet",
                hint=f"wait for it: bcai jobs logs -f {view.id}",
            )
        result = await job.result(check=False)
        if out is not None:
            await result.outputs.load()
        return result

    if out is not None:
        make_folder(out, "--out")
    result = with_network(options, act)
    saved = None if out is None else save_to_folder(result, out)
    if options.json:
        report_as_json(result, saved)
    else:
        report_to_people(stdout_console(), result, source=result.job.spec.code, saved=saved)
    return exit_status_of(result.job)
