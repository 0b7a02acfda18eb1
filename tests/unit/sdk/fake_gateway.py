"""A gateway in memory: what it holds is told to httpx, without a socket."""

import json
from dataclasses import dataclass, field

import httpx

from bcai.base.digest import digest_of
from bcai.base.errors import BcaiError, NotFoundError
from bcai.jobs.job import EventKind, JobEvent
from bcai.jobs.outcome import Outcome, Output, Reason, ReasonCode, Usage
from bcai.jobs.spec import JobSpec
from bcai.jobs.states import JobState, Move
from bcai.wire.jobs import EventList, JobView, Problem


def job_view(
    state: JobState = JobState.SUCCEEDED,
    *,
    job_id: str = "job_1",
    code: str = "x = 1\n",
    outcome: Outcome | None = None,
    warnings: tuple[str, ...] = (),
) -> JobView:
    return JobView(
        id=job_id,
        name="job",
        state=state,
        created_at=0,
        updated_at=0,
        started_at=None,
        finished_at=None,
        progress=0,
        cancel_requested=False,
        waiting=None,
        reason=outcome.reason if outcome else None,
        node_id=None,
        warnings=warnings,
        attempts=(),
        outcome=outcome,
        spec=JobSpec(name="job", code=code),
    )


def outcome(
    move: Move = Move.SUCCEED,
    code: ReasonCode = ReasonCode.SUCCEEDED,
    message: str = "finished",
    *,
    hint: str = "",
    outputs: tuple[Output, ...] = (),
    user_line: int | None = None,
) -> Outcome:
    return Outcome(
        move=move,
        reason=Reason(code, message, hint),
        outputs=outputs,
        usage=Usage(wall_s=1.5),
        user_line=user_line,
    )


def log(sequence: int, text: str, stream: str = "stdout") -> JobEvent:
    return JobEvent(sequence, 0.0, 1, EventKind.LOG, {"stream": stream, "text": text})


@dataclass
class FakeGateway:
    """Blobs and events, and the requests that came; `failures` are answered first."""

    blobs: dict[str, bytes] = field(default_factory=dict[str, bytes])
    events: list[JobEvent] = field(default_factory=list[JobEvent])
    views: dict[str, JobView] = field(default_factory=dict[str, JobView])
    requests: list[httpx.Request] = field(default_factory=list[httpx.Request])
    failures: list[httpx.Response | Exception] = field(
        default_factory=list[httpx.Response | Exception]
    )
    page_size: int = 2

    async def answer(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        self.requests.append(request)
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return failure
        parts = request.url.path.split("/")
        match request.method, parts[2:]:
            case "HEAD" | "GET", ["blobs", digest]:
                if digest not in self.blobs:
                    return problem(NotFoundError("no such blob"))
                return httpx.Response(200, content=self.blobs[digest])
            case "PUT", ["blobs", digest]:
                assert digest == digest_of(content)
                self.blobs[digest] = content
                return httpx.Response(201)
            case "GET", ["jobs", _, "events"]:
                return self._page(int(request.url.params["after"]))
            case "GET", ["jobs", job_id] if job_id in self.views:
                return json_answer(self.views[job_id].model_dump_json())
            case "POST", ["jobs"]:
                view = job_view(JobState.QUEUED, code=json.loads(content)["code"])
                return json_answer(view.model_dump_json())
            case _:
                return problem(NotFoundError(f"no {request.method} {request.url.path}"))

    def _page(self, after: int) -> httpx.Response:
        items = [event for event in self.events if event.sequence > after]
        page = items[: self.page_size]
        view = EventList(
            items=page,
            next_after=page[-1].sequence if page else after,
            final=len(page) == len(items),
        )
        return json_answer(view.model_dump_json())


def json_answer(text: str) -> httpx.Response:
    return httpx.Response(200, content=text, headers={"Content-Type": "application/json"})


def problem(error: BcaiError) -> httpx.Response:
    described = Problem.of(error)
    return httpx.Response(described.status, content=described.model_dump_json())
