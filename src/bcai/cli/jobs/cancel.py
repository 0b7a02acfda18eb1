"""`bcai jobs cancel`: stops a job."""

from typing import TYPE_CHECKING, Annotated

from bcai.base.errors import EXIT_OK
from bcai.cli.document import job_document
from bcai.cli.find_job import find_job, view_of
from bcai.cli.jobs.show import JOB_ID
from bcai.cli.options import DEFAULT_NETWORK, NetworkOptions
from bcai.cli.session import with_network
from bcai.cli.terminal import print_json, stdout_console
from bcai.jobs.states import JobState
from bcai.wire.jobs import JobView

if TYPE_CHECKING:
    from bcai.sdk.async_client import AsyncSDK


def cancel_job(
    job_id: Annotated[str, JOB_ID], /, *, options: NetworkOptions = DEFAULT_NETWORK
) -> int:
    """Cancel a job: at once if it waits, else as soon as its node hears of it."""

    async def act(client: "AsyncSDK") -> JobView:
        job = await find_job(client, job_id)
        await job.cancel()
        return await view_of(job)

    job = with_network(options, act)
    if options.json:
        print_json(job_document(job))
        return EXIT_OK
    if job.state is JobState.CANCELLED:
        text = f"{job.id} is cancelled"
    elif job.state.is_final:
        text = f"{job.id} had ended already: {job.state}"
    else:
        text = f"{job.id} will stop as soon as its node hears of it"
    stdout_console().print(text, markup=False)
    return EXIT_OK
