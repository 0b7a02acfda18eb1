"""A job by its id, or by a part of it that only one job has."""

import re

from bcai.base.errors import InputError, NotFoundError
from bcai.sdk.async_client import AsyncSDK
from bcai.sdk.async_job import AsyncJob
from bcai.wire.jobs import JobView

LATEST = "last"
_SEARCHED_MAX = 1000  # the latest jobs: what people shorten is what they saw a moment ago
_SHOWN_MAX = 5
_WHOLE = re.compile(r"job_[0-9a-z]{26}\Z")


async def find_job(client: AsyncSDK, text: str) -> AsyncJob:
    """Return a job by id, by a unique beginning or end of its id, or the latest by `last`.

    `-2` behind any of these is what its second node did, of a job with `verify: replicated`.

    Raises
    ------
    NotFoundError
        No job has such an id.
    InputError
        Several have; the message names them.
    """
    return await client.job(await find_id(client, text))


async def view_of(job: AsyncJob) -> JobView:
    """Return all that the network tells of a job."""
    return job.summary if isinstance(job.summary, JobView) else await job.refresh()


async def find_id(client: AsyncSDK, text: str) -> str:
    """Return the whole id, as `find_job` does, of a job that one may not be allowed to see."""
    order, dash, replica = text.partition("-")
    if dash and replica.isdecimal():
        return f"{await find_id(client, order)}-{replica}"
    if _WHOLE.match(text):
        return text
    if text == LATEST:
        latest = await client.list_jobs(limit=1)
        if latest:
            return latest[0].id
        raise NotFoundError("there is no job yet", hint="run one: bcai run --code 'print(1 + 1)'")
    ids = [job.id for job in await client.list_jobs(limit=_SEARCHED_MAX)] if text else []
    matching = [
        job_id
        for job_id in ids
        if job_id.startswith((text, f"job_{text}")) or job_id.endswith(text)
    ]
    if not matching:
        raise NotFoundError(f"no job has the id {text!r}", hint="bcai jobs list shows them")
    if len(matching) > 1:
        shown = ", ".join(matching[:_SHOWN_MAX])
        more = f" and {len(matching) - _SHOWN_MAX} more" if len(matching) > _SHOWN_MAX else ""
        raise InputError(
            f"{text!r} fits {len(matching)} jobs: {shown}{more}",
            hint="the last letters of an id tell jobs apart best",
        )
    return matching[0]
