"""A submission on its way into the queue, whichever way it came."""

from bcai.cluster.gateway.admission import check_files, judge, signed
from bcai.cluster.gateway.services import Services
from bcai.cluster.store.protocol import ApiKey
from bcai.jobs.job import Job
from bcai.wire.submission import JobSubmission


async def submit(
    services: Services,
    caller: ApiKey,
    submission: JobSubmission,
    idempotency_key: str | None,
) -> tuple[Job, bool]:
    """Store a job durably; return it and whether it is new.

    Raises
    ------
    InputError
        The submission does not hang together, or a file was not uploaded.
    InputError
        Its signature does not hold.
    RefusedError
        No node could ever run it, or fewer than are to; or a line of its script is certain to fail
        in every jail.
    ConflictError
        The idempotency key was used for another job.
    BusyError
        Too many jobs wait.
    """
    spec = submission.to_spec()
    if idempotency_key is not None:
        # Before admission: a job that was accepted stays so, whichever nodes are online now.
        first = await services.store.submitted_before(caller.id, spec, idempotency_key)
        if first is not None:
            return first, False
    await check_files(spec, services.blobs)
    online = await services.nodes.online()
    settings = services.settings
    spec = signed(spec, services.signing_key)
    warnings = judge(spec, online, gpu_fallback=settings.gpu_fallback, nodes_max=settings.nodes_max)
    await services.inspector.refuse_certain(spec, services.blobs)
    return await services.store.submit(
        caller.id, spec, warnings=warnings, idempotency_key=idempotency_key
    )
