"""The client that talks over one kind of connection alone, the WebSocket `/v1/ws`."""

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import anyio.to_thread

from bcai.base.errors import InputError
from bcai.base.suggest import nearest
from bcai.sdk.async_job import AsyncJob
from bcai.sdk.draft import Draft, Quantity, draft_job
from bcai.sdk.portal import portal
from bcai.sdk.result import Result
from bcai.sdk.signing import sign_submission
from bcai.sdk.stream import submit_over_socket
from bcai.sdk.transport import Transport

_HARDWARE = {"cpu_count": "cpu_count", "gpu_count": "gpu_count", "gpu_memory_gb": "gpu_memory"}
_LIMITS = {"memory_gb": "memory", "disk_gb": "disk"}
_TIMEOUT = "timeout"
_DEFAULT_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A training job for `BCaiClient.submit_job`.

    Attributes
    ----------
    resources
        `cpu_count`, `memory_gb`, `disk_gb`, `gpu_count`, `gpu_memory_gb` (per GPU; 1 GB is
        10^9 bytes), and `timeout` in seconds or as text such as `1h30m`.
    """

    name: str
    code: str
    requirements: Sequence[str] = ()
    resources: Mapping[str, Quantity] = field(default_factory=dict[str, Quantity])
    reward_tokens: int = 0
    max_retries: int = 3
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    environment: str | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be sent, where it is written."""
        self.to_draft()

    def to_draft(self) -> Draft:
        """Lower to what is sent.

        Raises
        ------
        InputError
            Something is wrong; an unknown resource comes with the nearest right name.
        """
        known = [*_HARDWARE, *_LIMITS, _TIMEOUT]
        for name in self.resources:
            if name not in known:
                raise InputError(f"resources.{name}: unknown; {nearest(name, known)}")
        timeout = self.resources.get(_TIMEOUT)
        return draft_job(
            self.code,
            name=self.name,
            requirements=self.requirements,
            environment=self.environment,
            hardware=self._section(_HARDWARE),
            limits=self._section(_LIMITS),
            timeout=3600 if timeout is None else timeout,
            max_retries=self.max_retries,
            reward_tokens=self.reward_tokens,
            labels=self.labels,
        )

    def _section(self, names: Mapping[str, str]) -> dict[str, Quantity]:
        section: dict[str, Quantity] = {}
        for name, field_name in names.items():
            value = self.resources.get(name)
            if value is None:
                continue
            if not name.endswith("_gb"):
                section[field_name] = value
            elif isinstance(value, int | float) and 0 < value < math.inf:
                section[field_name] = int(value * 10**9)
            else:
                raise InputError(f"resources.{name}: found {value!r}; expected a number above 0")
        return section


class AsyncBCaiClient:
    """`BCaiClient` for asynchronous code."""

    def __init__(
        self,
        endpoint: str | None = None,
        api_key: str | None = None,
        auto_retry: bool = True,
        timeout: float = _DEFAULT_TIMEOUT_S,
    ) -> None:
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

    async def submit_job(self, job: TrainingJob, *, check: bool = True) -> Result:
        """Submit a job and wait for its end; see `BCaiClient.submit_job`."""
        submitted = await self.start_job(job)
        return await submitted.wait(check=check)

    async def start_job(self, job: TrainingJob) -> AsyncJob:
        """Submit a job and return it at once."""
        draft = job.to_draft()
        submitted = AsyncJob(self.transport)
        nonce = uuid.uuid4().hex
        signed = await anyio.to_thread.run_sync(sign_submission, draft.submission, nonce)
        view = await submit_over_socket(self.transport, signed, nonce)
        submitted.adopt(view)
        return submitted


class BCaiClient:
    """A client of a BCAI network over a WebSocket.

    Parameters
    ----------
    endpoint
        Such as `ws://localhost:8080`; where nothing listens there, a network is started on this
        machine. None: the one in the settings, else the network on this machine.
    api_key
        None: the network on this machine has its own key; for any other, `BCAI_API_KEY`.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        api_key: str | None = None,
        auto_retry: bool = True,
        timeout: float = _DEFAULT_TIMEOUT_S,
    ) -> None:
        self._client = AsyncBCaiClient(endpoint, api_key, auto_retry, timeout)
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

    def close(self) -> None:
        """Close the connections. Jobs go on."""
        portal().run(self._client.aclose())

    def submit_job(self, job: TrainingJob, *, check: bool = True) -> Result:
        """Submit a job and wait for its end; `result.training_metrics` sums it up.

        Raises
        ------
        JobFailedError, JobCancelledError, JobTimedOutError
            The job ended without success, and `check` is true.
        """
        return portal().run(self._submit(job, check=check))

    async def asubmit_job(self, job: TrainingJob, *, check: bool = True) -> Result:
        """Submit a job and wait for its end, in asynchronous code."""
        return await self._client.submit_job(job, check=check)

    async def _submit(self, job: TrainingJob, *, check: bool) -> Result:
        submitted = await self._client.start_job(job)
        return await submitted.blocking().wait(check=check)
