"""The client of a BCAI network in asynchronous code. `client.py` is the synchronous face of it."""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from bcai.base.errors import InputError
from bcai.base.suggest import nearest
from bcai.jobs.node import Node
from bcai.jobs.states import JobState
from bcai.sdk.async_job import AsyncJob
from bcai.sdk.draft import AnyPath, Draft, Quantity, draft_job
from bcai.sdk.result import Result
from bcai.sdk.transport import Transport, job_path
from bcai.wire.jobs import JobList, JobSummary, JobView, NodeList

if TYPE_CHECKING:
    from bcai.vm.program.program import Program, VerifiedProgram

DEFAULT_TIMEOUT_S = 30.0
_PAGE_JOBS = 100


class AsyncSDK:
    """A client of a BCAI network.

    Parameters
    ----------
    endpoint
        Address of a gateway, such as `http://localhost:8080`. None: the one in the settings
        (`BCAI_ENDPOINT`), else the network on this machine, which is started if need be.
    api_key
        None: the network on this machine has its own key; for any other, `BCAI_API_KEY`.
    auto_retry
        Try again, with growing pauses, when the gateway cannot be reached or is too busy.
    timeout
        Seconds that one request may take. A job's own limit is `create_job(timeout=...)`.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        api_key: str | None = None,
        auto_retry: bool = True,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self.timeout = timeout
        self.transport = Transport(endpoint, api_key, auto_retry, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. Jobs go on."""
        await self.transport.aclose()

    async def connect(self) -> str:
        """Find the gateway, which may start the network on this machine; return its address."""
        return (await self.transport.find_endpoint()).url

    def create_job(
        self,
        code: str | None = None,
        *,
        path: AnyPath | None = None,
        project: AnyPath | None = None,
        entry: str | None = None,
        data: AnyPath | Iterable[AnyPath] = (),
        inputs: Mapping[str, Any] | None = None,
        name: str | None = None,
        code_name: str | None = None,
        arguments: Sequence[str] = (),
        requirements: Sequence[str] = (),
        environment: str | None = None,
        hardware: Mapping[str, Quantity] | None = None,
        limits: Mapping[str, Quantity] | None = None,
        timeout: float | str = 3600,
        max_retries: int = 3,
        required_outputs: Sequence[str] = (),
        reward_tokens: int = 0,
        labels: Mapping[str, str] | None = None,
        security_level: str = "high",
        verify: str = "none",
        capture: bool = False,
    ) -> AsyncJob:
        """Make a job, without sending it; see `SDK.create_job`."""
        draft = draft_job(
            code,
            path=path,
            project=project,
            entry=entry,
            data=data,
            inputs=inputs,
            name=name,
            code_name=code_name,
            arguments=arguments,
            requirements=requirements,
            environment=environment,
            hardware=hardware,
            limits=limits,
            timeout=timeout,
            max_retries=max_retries,
            required_outputs=required_outputs,
            reward_tokens=reward_tokens,
            labels=labels,
            security_level=security_level,
            verify=verify,
            capture=capture,
        )
        return AsyncJob(self.transport, draft=draft)

    def create_program_job(
        self,
        program: "Program | VerifiedProgram | bytes | str | PathLike[str]",
        inputs: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        limits: Mapping[str, Quantity] | None = None,
        timeout: float | str = 3600,
        max_retries: int = 3,
        required_outputs: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        verify: str = "none",
    ) -> AsyncJob:
        """Make a job of a Program, without sending it; see `SDK.create_program_job`."""
        from bcai.sdk.program import draft_program

        draft = draft_program(
            program,
            inputs or {},
            name=name,
            limits=limits,
            timeout=timeout,
            max_retries=max_retries,
            required_outputs=required_outputs,
            labels=labels,
            verify=verify,
        )
        return AsyncJob(self.transport, draft=draft)

    async def submit_program(
        self,
        program: "Program | VerifiedProgram | bytes | str | PathLike[str]",
        inputs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Result:
        """Run a Program on the network and wait for its outputs; see `SDK.submit_program`."""
        return await self.create_program_job(program, inputs, **options).execute()

    def create_wasm_job(
        self,
        module: "bytes | str | PathLike[str]",
        inputs: Mapping[str, Any] | None = None,
        *,
        arguments: Sequence[str] = (),
        name: str | None = None,
        limits: Mapping[str, Quantity] | None = None,
        timeout: float | str = 3600,
        max_retries: int = 3,
        required_outputs: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
    ) -> AsyncJob:
        """Make a job of a WebAssembly module, without sending it; see `SDK.create_wasm_job`."""
        from bcai.sdk.wasm import draft_wasm

        draft = draft_wasm(
            module,
            inputs or {},
            arguments=arguments,
            name=name,
            limits=limits,
            timeout=timeout,
            max_retries=max_retries,
            required_outputs=required_outputs,
            labels=labels,
        )
        return AsyncJob(self.transport, draft=draft)

    async def submit_wasm(
        self,
        module: "bytes | str | PathLike[str]",
        inputs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Result:
        """Run a WebAssembly module and wait for its outputs; see `SDK.submit_wasm`."""
        return await self.create_wasm_job(module, inputs, **options).execute()

    def job_of(self, draft: Draft) -> AsyncJob:
        """Make a job of a draft, without sending it."""
        return AsyncJob(self.transport, draft=draft)

    async def job(self, job_id: str) -> AsyncJob:
        """Return a job that was submitted before. Raises NotFoundError."""
        job = AsyncJob(self.transport)
        job.adopt(await self.transport.get(job_path(job_id), JobView))
        return job

    async def list_jobs(
        self, *, state: JobState | str | None = None, limit: int = 50
    ) -> list[AsyncJob]:
        """Return your latest jobs, newest first: all, or those in one state."""
        state = None if state is None else parse_state(state)
        summaries: list[JobSummary] = []
        page_token: str | None = None
        while len(summaries) < limit:
            page = await self.transport.get(
                "/v1/jobs",
                JobList,
                state=state,
                page_size=min(limit - len(summaries), _PAGE_JOBS),
                page_token=page_token,
            )
            summaries += page.items
            page_token = page.next_page_token
            if page_token is None:
                break
        return [AsyncJob(self.transport, summary=summary) for summary in summaries[:limit]]

    async def cancel(self, job_id: str) -> None:
        """Cancel a job: at once if it waits, else as soon as its node hears of it."""
        await self.transport.post(job_path(job_id, ":cancel"), JobView)

    async def nodes(self) -> list[Node]:
        """Return the nodes of the network and what each offers."""
        return (await self.transport.get("/v1/nodes", NodeList)).items


def parse_state(state: JobState | str) -> JobState:
    """Return the state with this name, in any case. Raises InputError."""
    try:
        return JobState(state.upper())
    except ValueError:
        raise InputError(
            f"state: found {str(state)!r}; {nearest(str(state).upper(), JobState)}"
        ) from None
