"""Requests to a gateway: authorised, retried within bounds, and errors raised as our own."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote

import anyio
import anyio.to_thread
import httpx
from pydantic import BaseModel, ValidationError

from bcai.base.errors import (
    AuthError,
    BcaiError,
    DependencyError,
    NotFoundError,
    UnreachableError,
)
from bcai.sdk.endpoint import Endpoint, parse_endpoint, resolve_endpoint
from bcai.sdk.retry import FIRST_CONTACT_TRIES_MAX, TRIES_MAX, Backoff
from bcai.wire.jobs import Problem

Model = TypeVar("Model", bound=BaseModel)
Content = bytes | Callable[[], AsyncIterator[bytes]]  # a stream is made anew for each try

_RETRIED_STATUS = frozenset({429, 502, 503, 504})
_CONNECTIONS_MAX = 20


@dataclass(slots=True, eq=False, weakref_slot=True)
class Transport:
    """One client's way to its gateway. The endpoint is found at the first request.

    Attributes
    ----------
    reached
        Whether a gateway ever answered: then a silence is an outage, and is waited out.
    find, wire, sleep
        How the endpoint is found, what carries the requests (None: sockets), and how to wait.
    """

    endpoint: str | None
    api_key: str | None
    auto_retry: bool
    timeout_s: float
    reached: bool = False
    find: Callable[[str | None, str | None], Endpoint] = resolve_endpoint
    wire: httpx.AsyncBaseTransport | None = None
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    _found: Endpoint | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _http: tuple[asyncio.AbstractEventLoop, httpx.AsyncClient] | None = None

    def __post_init__(self) -> None:
        """Refuse an endpoint that cannot be one, before anything is sent."""
        if self.endpoint is not None:
            parse_endpoint(self.endpoint)

    def resolve(self) -> Endpoint:
        """Return the endpoint; found once, which may start the network on this machine."""
        with self._lock:
            if self._found is None:
                self._found = self.find(self.endpoint, self.api_key)
            return self._found

    async def find_endpoint(self) -> Endpoint:
        """Return the endpoint without blocking the event loop."""
        if self._found is not None:
            return self._found
        return await anyio.to_thread.run_sync(self.resolve)

    async def aclose(self) -> None:
        """Close connections and stop using the network on this machine."""
        if self._http is not None:
            await self._http[1].aclose()
            self._http = None
        if self._found is not None and self._found.users_lock is not None:
            self._found.users_lock.release()
        self._found = None

    def backoff(self) -> Backoff:
        """Return the waits for one request."""
        if not self.auto_retry:
            return Backoff(tries_max=1)
        return Backoff(tries_max=TRIES_MAX if self.reached else FIRST_CONTACT_TRIES_MAX)

    async def get(self, path: str, model: type[Model], **query: object) -> Model:
        """GET a view."""
        given = {name: str(value) for name, value in query.items() if value is not None}
        answer = await self.request("GET", path, query=given)
        return _parse(answer, model)

    async def post(
        self,
        path: str,
        model: type[Model],
        *,
        body: BaseModel | None = None,
        headers: dict[str, str] | None = None,
    ) -> Model:
        """POST a message; the caller makes sure that a second try does no harm."""
        content: Content | None = None
        headers = dict(headers or {})
        if body is not None:
            content = body.model_dump_json(exclude_none=True).encode()
            headers["Content-Type"] = "application/json"
        answer = await self.request("POST", path, content=content, headers=headers)
        return _parse(answer, model)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        content: Content | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request until it is answered for good; raise what the gateway raised."""
        endpoint = await self.find_endpoint()
        backoff = self.backoff()
        while True:
            problem: BcaiError
            wait_s = 0.0
            try:
                answer = await self._client(endpoint).request(
                    method,
                    path,
                    params=query,
                    content=content() if callable(content) else content,
                    headers=headers,
                )
            except httpx.TransportError as error:
                problem = unreachable(endpoint, error)
            else:
                self.reached = True
                if answer.is_success:
                    return answer
                problem = _problem(answer, endpoint)
                if answer.status_code not in _RETRIED_STATUS:
                    raise problem
                wait_s = _retry_after_s(answer)
            delay_s = backoff.delay_s(at_least_s=wait_s)
            if delay_s is None:
                raise problem
            await self.sleep(delay_s)

    def _client(self, endpoint: Endpoint) -> httpx.AsyncClient:
        """Return this event loop's connections; those of another loop cannot be used here."""
        loop = asyncio.get_running_loop()
        if self._http is None or self._http[0] is not loop:
            client = httpx.AsyncClient(
                base_url=endpoint.url,
                headers=endpoint.headers,
                timeout=self.timeout_s,
                limits=httpx.Limits(max_connections=_CONNECTIONS_MAX),
                trust_env=not endpoint.is_loopback,
                transport=self.wire,
            )
            self._http = (loop, client)
        return self._http[1]


def job_path(job_id: str, rest: str = "") -> str:
    """Path of a job; an id of the user's cannot lead elsewhere."""
    return f"/v1/jobs/{quote(job_id, safe='')}{rest}"


def unreachable(endpoint: Endpoint, error: Exception) -> UnreachableError:
    """Say that nobody answered, and what to do about it."""
    return UnreachableError(
        f"nobody answers at {endpoint.url} ({str(error) or type(error).__name__})",
        hint="start a network here with `bcai up`, or set BCAI_ENDPOINT to one that runs; "
        "with no endpoint at all, a network is started for you",
    )


def status_problem(status: int, endpoint: Endpoint) -> BcaiError:
    """Describe an answer that carries no problem of ours."""
    text = f"{endpoint.url} answered with HTTP status {status}"
    if status in {401, 403}:
        return AuthError(text, hint="give a key with api_key= or BCAI_API_KEY")
    if status == HTTPStatus.NOT_FOUND:
        return NotFoundError(text, hint="is it a BCAI gateway?")
    return DependencyError(text)


def read_problem(content: bytes) -> BcaiError | None:
    """Return the error that a gateway described, if these bytes describe one."""
    try:
        return Problem.model_validate_json(content).to_error()
    except ValidationError:
        return None


def _problem(answer: httpx.Response, endpoint: Endpoint) -> BcaiError:
    return read_problem(answer.content) or status_problem(answer.status_code, endpoint)


def _retry_after_s(answer: httpx.Response) -> float:
    try:
        return max(0.0, float(answer.headers.get("Retry-After", "0")))
    except ValueError:  # a date; our own back-off will do
        return 0.0


def _parse(answer: httpx.Response, model: type[Model]) -> Model:
    try:
        return model.model_validate_json(answer.content)
    except ValidationError as error:
        raise DependencyError(
            f"{answer.url.host} sent something else than {model.__name__}: "
            f"{error.error_count()} wrong fields",
            hint="are client and gateway of the same version?",
        ) from error
