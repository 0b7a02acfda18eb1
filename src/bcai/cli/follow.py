"""Follow a job to its end, while Ctrl-C can cancel it or leave it."""

import signal
from contextlib import aclosing
from dataclasses import dataclass

import anyio

from bcai.base.errors import BcaiError
from bcai.cli.view import View
from bcai.jobs.states import JobState
from bcai.sdk.async_job import AsyncJob
from bcai.sdk.result import Result

WAITS_LOOK_S = 2.0  # a job that starts at once says nothing of it


@dataclass(slots=True)
class _Ending:
    result: Result | None = None
    error: BcaiError | OSError | None = None


async def follow(job: AsyncJob, view: View) -> Result | None:
    """Show a job until it ends and return its result; None if the user left before.

    The first Ctrl-C asks the job to cancel and goes on waiting, the second leaves at once.
    """
    ending = _Ending()
    with anyio.open_signal_receiver(signal.SIGINT) as interrupts:
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                try:
                    async with aclosing(job.events()) as events:
                        async for event in events:
                            view.event(event)
                    ending.result = await job.wait(check=False)
                except (BcaiError, OSError) as error:
                    ending.error = error  # a task group would wrap it
                group.cancel_scope.cancel()

            group.start_soon(watch)
            group.start_soon(_tell_waits, job, view)
            count = 0
            async for _ in interrupts:
                count += 1
                if count > 1:
                    group.cancel_scope.cancel()
                    break
                view.note("cancelling the job; Ctrl-C again leaves without waiting")
                group.start_soon(_cancel, job, view)
    if ending.error is not None:
        raise ending.error
    return ending.result


async def _tell_waits(job: AsyncJob, view: View) -> None:
    """Say why the job waits, once for each kind of reason: what is free changes all the time."""
    told = None
    while True:
        await anyio.sleep(WAITS_LOOK_S)
        try:
            current = await job.refresh()
        except (BcaiError, OSError):  # whoever watches its events says what is wrong
            continue
        if current.state is not JobState.QUEUED:
            return
        why = current.waiting
        if why is not None and why.code is not told:
            told = why.code
            view.note(f"{current.state}: {why.message}" + (f"; {why.hint}" if why.hint else ""))


async def _cancel(job: AsyncJob, view: View) -> None:
    try:
        await job.cancel()
    except BcaiError as error:
        view.note(f"could not cancel: {error}")
