"""Rules on what a challenger says is not so about a result, other than its trace.

Nobody is asked and nobody is believed: order, receipt and outputs are in the store, and they fit
together or not. What is found counts, be it what the challenger said or something else.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import anyio.to_thread

from bcai.base.errors import InputError
from bcai.jobs.check_captured import check_captured
from bcai.jobs.check_result import check_result, digests_of
from bcai.jobs.dispute import DisputeRecord, Party, Ruling
from bcai.jobs.job import Job
from bcai.jobs.settlement import Lie

FALSE = "accusation.false"


async def rule_accused(
    record: DisputeRecord, job: Job, read: Callable[[str], Awaitable[bytes]], now: float
) -> DisputeRecord:
    """Look for oneself, and say who lied.

    Raises
    ------
    InputError
        It is no result that can be looked at.
    DependencyError
        A file is not to be had now; nobody lied.
    """
    if job.outcome is None or job.outcome.receipt is None or job.settlement is None:
        raise InputError("the result has no receipt")
    blobs = {digest: await read(digest) for digest in digests_of(job.spec, job.outcome)}
    key = job.settlement.node_key
    check = check_captured if job.spec.capture else check_result
    look = partial(check, job.id, job.spec, job.outcome, blobs, key)
    found = await anyio.to_thread.run_sync(look)
    nbytes = sum(map(len, blobs.values()))
    if isinstance(found, Lie):
        faulty, code, message = Party.NODE, found.code, found.message
    else:
        faulty, code = Party.CHALLENGER, FALSE
        message = f"order, receipt and outputs fit together, unlike it said: {_said(record)}"
    ruling = Ruling((faulty,), code, message, record.challenger, now, nbytes=nbytes)
    return replace(record, ruling=replace(ruling, seconds=now - record.opened_at))


def _said(record: DisputeRecord) -> str:
    return f"{record.claim or 'no more than its name'} [{record.accusation}]"
