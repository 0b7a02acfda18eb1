"""The client of a BCAI network in synchronous code: the thin face of `AsyncSDK`."""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from bcai.jobs.node import Node
from bcai.jobs.states import JobState
from bcai.sdk.async_client import DEFAULT_TIMEOUT_S, AsyncSDK
from bcai.sdk.draft import AnyPath, Draft, Quantity
from bcai.sdk.job import Job
from bcai.sdk.portal import portal
from bcai.sdk.result import Result

if TYPE_CHECKING:
    from bcai.vm.program.program import Program, VerifiedProgram

__all__ = ["SDK", "AsyncSDK"]


class SDK:
    """A client of a BCAI network. It may be used from several threads, and in a notebook.

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
        self._client = AsyncSDK(endpoint, api_key, auto_retry, timeout)
        portal().close_at_exit(self._client.transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def timeout(self) -> float:
        """Seconds that one request may take."""
        return self._client.timeout

    def close(self) -> None:
        """Close the connections. Jobs go on."""
        portal().run(self._client.aclose())

    def connect(self) -> str:
        """Find the gateway, which may start the network on this machine; return its address."""
        return portal().run(self._client.connect())

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
    ) -> Job:
        """Make a job, without sending it: `execute()` does.

        Parameters
        ----------
        code, path, project
            Exactly one: Python source text, a script, or a folder with modules and files.
        entry
            The file of the project that starts; None: `main.py`, or its only script.
        data
            Files and folders that the job may read by their own names.
        inputs
            Tensors that the script reads as `bcai.input(name)`: NumPy arrays, torch tensors, and
            everything else that has `__dlpack__`.
        code_name
            What tracebacks call the script; None: the file's own name, or `job.py`.
        arguments
            `sys.argv[1:]` of the script.
        requirements
            Packages that the node must have, such as `torch>=2`.
        environment
            The node's environment to run in, by name; None: the first with the requirements.
        hardware
            `cpu_count`, `gpu_count`, `gpu_memory` (per GPU), `memory`; sizes such as `8GB`.
        limits
            `memory`, `cpu` (time of all processors together), `disk`, `file` (size of any one),
            `inodes` (files and folders), `log`, `output`, `processes`; such as `2GB` or `10m`.
        timeout
            Seconds that the job may run, or text such as `1h30m`.
        max_retries
            How often it starts again after a fault of a node; your own errors are final.
        required_outputs
            Outputs without which the job counts as failed.
        reward_tokens
            Recorded with the job.
        labels
            Text of yours that stays with the job.
        security_level
            How strong a jail it asks for: `high`; `standard`, where programs of the node may
            start (`torch.compile` needs it); `trusted` on nodes that know you. A node that has
            less refuses the job.
        verify
            Who checks the result: `none`, or `replicated:3` (three nodes of one fingerprint do
            the job, and what most say is the result); with `capture` also `full` or `audited:0.1`
            (a challenger runs the script again, always or with that probability). `estimate()`
            tells what it costs.
        capture
            Have the script's PyTorch operations executed and recorded by the node: the job then
            has a receipt that a replay can check, down to one instruction.

        Raises
        ------
        InputError
            Something is wrong; the message names the field, the value and what was expected.
        """
        job = self._client.create_job(
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
        return Job(job.blocking())

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
    ) -> Job:
        """Make a job of a Program of the instruction set, without sending it.

        Parameters
        ----------
        program
            A program, its canonical bytes, or a file with its bytes or its assembly.
        inputs
            A NumPy array (or what converts to one) for every input and parameter, by name.
        verify
            Who checks the result: `none`, `full` (a challenger does the job again), or
            `audited:0.1` (it does one in ten).
        name, limits, timeout, max_retries, required_outputs, labels
            As for `create_job`.

        Raises
        ------
        InputError
            The program is not legal, or an input is missing or of another type.
        """
        job = self._client.create_program_job(
            program,
            inputs,
            name=name,
            limits=limits,
            timeout=timeout,
            max_retries=max_retries,
            required_outputs=required_outputs,
            labels=labels,
            verify=verify,
        )
        return Job(job.blocking())

    def submit_program(
        self,
        program: "Program | VerifiedProgram | bytes | str | PathLike[str]",
        inputs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Result:
        """Run a Program on the network and wait: `create_program_job(...).execute()`.

        The outputs are `result.outputs[name]`: a number for a scalar, else a NumPy array.
        """
        return self.create_program_job(program, inputs, **options).execute()

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
    ) -> Job:
        """Make a job of a WebAssembly module, without sending it.

        Parameters
        ----------
        module
            The bytes of a core module, or its file. What it may import is in
            docs/reference/wasm.md.
        inputs
            A NumPy array (or what converts to one) for every input, by name.
        arguments
            Texts that the module can read.
        limits
            As for `create_job`; also `fuel`, the instructions that it may execute.
        name, timeout, max_retries, required_outputs, labels
            As for `create_job`.

        Raises
        ------
        InputError
            The module is text or no module at all, or an input is of a type that does not travel.
        """
        job = self._client.create_wasm_job(
            module,
            inputs,
            arguments=arguments,
            name=name,
            limits=limits,
            timeout=timeout,
            max_retries=max_retries,
            required_outputs=required_outputs,
            labels=labels,
        )
        return Job(job.blocking())

    def submit_wasm(
        self,
        module: "bytes | str | PathLike[str]",
        inputs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Result:
        """Run a WebAssembly module and wait: `create_wasm_job(...).execute()`.

        The outputs are `result.outputs[name]`, and `result.usage.fuel` the instructions it took.
        """
        return self.create_wasm_job(module, inputs, **options).execute()

    def job_of(self, draft: Draft) -> Job:
        """Make a job of a draft, without sending it."""
        return Job(self._client.job_of(draft).blocking())

    def job(self, job_id: str) -> Job:
        """Return a job that was submitted before. Raises NotFoundError."""
        return Job(portal().run(self._client.job(job_id)).blocking())

    def list_jobs(self, *, state: JobState | str | None = None, limit: int = 50) -> list[Job]:
        """Return your latest jobs, newest first: all, or those in one state."""
        jobs = portal().run(self._client.list_jobs(state=state, limit=limit))
        return [Job(job.blocking()) for job in jobs]

    def cancel(self, job_id: str) -> None:
        """Cancel a job: at once if it waits, else as soon as its node hears of it."""
        portal().run(self._client.cancel(job_id))

    def nodes(self) -> list[Node]:
        """Return the nodes of the network and what each offers."""
        return portal().run(self._client.nodes())
