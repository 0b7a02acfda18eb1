"""The agent's conversation, with a gateway in memory."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from anyio.abc import TaskGroup

from bcai.base.errors import AuthError, UnreachableError
from bcai.bridge.sandbox.level import JailReport
from bcai.cluster.node.agent import Agent, Identity
from bcai.cluster.node.attempt import Attempt
from bcai.cluster.node.connection import Connection
from bcai.jobs.environment import Environment
from bcai.jobs.node import Capabilities
from bcai.jobs.outcome import Outcome, Reason, ReasonCode
from bcai.jobs.spec import JobSpec
from bcai.jobs.states import Move
from bcai.wire.nodes import (
    FROM_NODE,
    Ack,
    Assign,
    Cancel,
    Drop,
    Finished,
    FromNode,
    Heartbeat,
    Hello,
    Log,
    Offer,
    Report,
    Started,
    Summon,
    ToNode,
    Welcome,
)

pytestmark = pytest.mark.anyio

SUCCESS = Outcome(Move.SUCCEED, Reason(ReasonCode.SUCCEEDED, "done"))
IDENTITY = Identity(
    "node-1", "laptop", Capabilities(1, 1, 1, "3.11", {}, JailReport("B"))
)  # fmt: skip
ASSIGN = Assign(job_id="job_1", attempt=1, lock_token="token", spec=JobSpec("job", code="1"))
Run = Callable[[Attempt], Awaitable[Outcome]]


class Line:
    """One connection, seen from the gateway's side."""

    def __init__(self) -> None:
        self._to_node, self._inbox = anyio.create_memory_object_stream[str](100)
        self._outbox, self._from_node = anyio.create_memory_object_stream[str](1000)

    async def send(self, text: str) -> None:
        try:
            await self._outbox.send(text)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            raise UnreachableError("broken") from error

    async def receive(self) -> str:
        try:
            return await self._inbox.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError) as error:
            raise UnreachableError("broken") from error

    async def say(self, message: ToNode) -> None:
        await self._to_node.send(message.model_dump_json())

    async def hear(self) -> FromNode:
        """The node's next message but heartbeats."""
        with anyio.fail_after(60):
            while True:
                message = FROM_NODE.validate_json(await self._from_node.receive())
                if not isinstance(message, Heartbeat):
                    return message

    async def hear_heartbeat(self) -> Heartbeat:
        with anyio.fail_after(60):
            while True:
                message = FROM_NODE.validate_json(await self._from_node.receive())
                if isinstance(message, Heartbeat):
                    return message

    async def welcome(self) -> Hello:
        hello = await self.hear()
        assert isinstance(hello, Hello)
        await self.say(Welcome(heartbeat_s=0.01, lease_s=1.0))
        return hello

    def hang_up(self) -> None:
        self._to_node.close()
        self._from_node.close()


class Bench:
    """An agent at work, and the connections that it makes."""

    def __init__(self, run: Run) -> None:
        self._made, self._lines = anyio.create_memory_object_stream[Line](10)
        self.stop = anyio.Event()
        self.agent = Agent(IDENTITY, self._dial, run, Path("logs/node.log"))

    @asynccontextmanager
    async def _dial(self) -> AsyncGenerator[Connection, None]:
        line = Line()
        await self._made.send(line)
        yield line

    async def connection(self) -> Line:
        with anyio.fail_after(60):
            return await self._lines.receive()


@asynccontextmanager
async def working(run: Run) -> AsyncGenerator[Bench, None]:
    bench = Bench(run)
    async with anyio.create_task_group() as group:
        start(group, bench)
        yield bench
        bench.stop.set()
        group.cancel_scope.cancel()


def start(group: TaskGroup, bench: Bench, grace_s: float = 0.0) -> None:
    async def serve() -> None:
        await bench.agent.serve(bench.stop, grace_s=grace_s)

    group.start_soon(serve)


async def report_twice(attempt: Attempt) -> Outcome:
    attempt.outbox.put(Started(at=1.0))
    attempt.outbox.put(Log(at=2.0, stream="stdout", text="hi\n"))
    return SUCCESS


async def until_cancelled(attempt: Attempt) -> Outcome:
    await anyio.to_thread.run_sync(attempt.cancelled.wait)
    return Outcome(Move.CANCEL, Reason(ReasonCode.CANCELLED, "cancelled"))


async def hear_reports(line: Line, count: int) -> list[Report]:
    reports = [await line.hear() for _ in range(count)]
    assert all(isinstance(report, Report) for report in reports)
    return [report for report in reports if isinstance(report, Report)]


async def test_an_assignment_is_run_and_reported_in_order() -> None:
    async with working(report_twice) as bench:
        line = await bench.connection()
        assert (await line.welcome()).held == []
        await line.say(ASSIGN)
        reports = await hear_reports(line, 3)
        assert [report.number for report in reports] == [1, 2, 3]
        assert isinstance(reports[-1].body, Finished)
        assert reports[-1].body.outcome == SUCCESS


async def test_what_was_not_acknowledged_comes_again_after_a_broken_connection() -> None:
    async with working(report_twice) as bench:
        line = await bench.connection()
        await line.welcome()
        await line.say(ASSIGN)
        reports = await hear_reports(line, 3)
        await line.say(Ack(job_id="job_1", lock_token="token", number=1))
        while (await line.hear_heartbeat()).held == []:
            continue
        line.hang_up()
        line = await bench.connection()
        held = (await line.welcome()).held
        assert [one.lock_token for one in held] == ["token"]
        assert await hear_reports(line, 2) == reports[1:]


async def test_an_attempt_is_held_until_its_last_report_is_durable() -> None:
    async with working(report_twice) as bench:
        line = await bench.connection()
        await line.welcome()
        await line.say(ASSIGN)
        await hear_reports(line, 3)
        assert (await line.hear_heartbeat()).held != []
        await line.say(Ack(job_id="job_1", lock_token="token", number=3))
        with anyio.fail_after(60):
            while (await line.hear_heartbeat()).held:
                continue


async def test_an_assignment_that_comes_again_runs_nothing_twice() -> None:
    runs: list[Attempt] = []

    async def count(attempt: Attempt) -> Outcome:
        runs.append(attempt)
        return SUCCESS

    async with working(count) as bench:
        line = await bench.connection()
        await line.welcome()
        await line.say(ASSIGN)
        await line.say(ASSIGN)
        await hear_reports(line, 1)
        await line.say(Ack(job_id="job_1", lock_token="token", number=1))
        await line.say(ASSIGN)
        other = ASSIGN.model_copy(update={"job_id": "job_2", "lock_token": "other"})
        await line.say(other)
        assert (await hear_reports(line, 1))[0].job_id == "job_2"
        assert [attempt.job_id for attempt in runs] == ["job_1", "job_2"]


async def test_a_cancelled_attempt_ends_as_cancelled() -> None:
    async with working(until_cancelled) as bench:
        line = await bench.connection()
        await line.welcome()
        await line.say(ASSIGN)
        await line.say(Cancel(job_id="job_1", lock_token="token"))
        (report,) = await hear_reports(line, 1)
        assert isinstance(report.body, Finished)
        assert report.body.outcome.move is Move.CANCEL


async def test_a_dropped_attempt_stops_and_is_not_heard_of_again() -> None:
    async with working(until_cancelled) as bench:
        line = await bench.connection()
        await line.welcome()
        await line.say(ASSIGN)
        while (await line.hear_heartbeat()).held == []:
            continue
        await line.say(Drop(job_id="job_1", lock_token="token"))
        while (await line.hear_heartbeat()).held:
            continue
        await line.say(ASSIGN.model_copy(update={"lock_token": "next"}))
        await line.say(Cancel(job_id="job_1", lock_token="next"))
        assert (await hear_reports(line, 1))[0].lock_token == "next"


async def test_a_node_that_stops_hands_its_jobs_back() -> None:
    bench = Bench(until_cancelled)
    async with anyio.create_task_group() as group:
        start(group, bench)
        line = await bench.connection()
        await line.welcome()
        await line.say(ASSIGN)
        while (await line.hear_heartbeat()).held == []:
            continue
        bench.stop.set()
        (report,) = await hear_reports(line, 1)
        assert isinstance(report.body, Finished)
        assert report.body.outcome.move is Move.RETRY
        assert report.body.outcome.reason.code is ReasonCode.NODE_LOST
        await line.say(Ack(job_id="job_1", lock_token="token", number=1))


async def test_a_fault_of_the_node_ends_one_attempt_and_not_the_node() -> None:
    async def fail(attempt: Attempt) -> Outcome:
        raise ZeroDivisionError

    async with working(fail) as bench:
        line = await bench.connection()
        await line.welcome()
        for token in ("first", "second"):
            await line.say(ASSIGN.model_copy(update={"lock_token": token}))
            (report,) = await hear_reports(line, 1)
            assert isinstance(report.body, Finished)
            assert report.body.outcome.reason.code is ReasonCode.NODE_ERROR
            assert "logs/node.log" in report.body.outcome.reason.hint


async def test_a_refused_key_ends_the_node() -> None:
    @asynccontextmanager
    async def dial() -> AsyncGenerator[Connection, None]:
        raise AuthError("the key is refused")
        yield Line()

    agent = Agent(IDENTITY, dial, report_twice)
    with pytest.raises(ExceptionGroup) as caught:
        await agent.serve(anyio.Event(), grace_s=0.0)
    assert caught.group_contains(AuthError)


async def test_a_new_offer_is_told_at_once_and_in_every_later_hello() -> None:
    more = replace(IDENTITY.capabilities, environments=(Environment("tiny", "3.11.7", {}),))
    async with working(report_twice) as bench:
        line = await bench.connection()
        assert (await line.welcome()).capabilities == IDENTITY.capabilities
        bench.agent.offer(more)
        assert await line.hear() == Offer(capabilities=more)
        line.hang_up()
        assert (await (await bench.connection()).welcome()).capabilities == more


async def test_a_dispute_that_an_earlier_process_was_killed_in_goes_on() -> None:
    begun = Summon(job_id="job_1", dispute_id="dispute_1")
    heard, over = list[Summon](), anyio.Event()

    async def defend(summon: Summon) -> None:
        heard.append(summon)
        await over.wait()

    @asynccontextmanager
    async def dial() -> AsyncGenerator[Connection, None]:
        yield line

    line, stop = Line(), anyio.Event()
    agent = Agent(IDENTITY, dial, report_twice, None, defend, [begun])
    async with anyio.create_task_group() as group:
        group.start_soon(partial(agent.serve, stop, grace_s=0.0))
        await line.welcome()
        await line.say(begun)  # the gateway tells it, too
        await line.say(Summon(job_id="job_2", dispute_id="dispute_2"))
        with anyio.fail_after(60):
            while len(heard) < 2:
                await line.hear_heartbeat()
        over.set()
        stop.set()
    assert [each.dispute_id for each in heard] == ["dispute_1", "dispute_2"]
