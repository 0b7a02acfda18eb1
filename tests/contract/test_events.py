"""A job's events and logs: pages, long polls and streams."""

import json
import threading
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from bcai.wire.nodes import Log, Started

from .gateway_process import Gateway, start_gateway, submitted
from .node_side import assign, connected


def frames(answer: httpx.Response) -> Iterator[tuple[str, str, str]]:
    """Server-Sent Events as (id, event, data)."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        else:
            yield fields.get("id", ""), fields.get("event", ""), fields.get("data", "")
            fields = {}


def test_pages_of_events_meet_and_end(gateway: Gateway) -> None:
    with gateway.client() as client, connected(gateway, "node_pages") as node:
        job_id = submitted(client)
        assign(gateway, job_id, "node_pages")
        node.run(node.assigned(), *(f"line {number}\n" for number in range(20)))
        found: list[int] = []
        after, final = 0, False
        while not final:
            page = client.get(
                f"/v1/jobs/{job_id}/events", params={"after": after, "limit": 7, "wait_s": 30}
            ).json()
            found += [event["sequence"] for event in page["items"]]
            after, final = page["next_after"], page["final"]
    assert found == list(range(1, len(found) + 1))
    assert len(found) > 20


def test_a_long_poll_ends_with_the_event_it_waits_for(gateway: Gateway) -> None:
    with gateway.client() as client:
        job_id = submitted(client)
        last = client.get(f"/v1/jobs/{job_id}/events").json()["next_after"]
        answers: list[httpx.Response] = []

        def poll() -> None:
            parameters = {"after": last, "wait_s": 50}
            answers.append(client.get(f"/v1/jobs/{job_id}/events", params=parameters))

        waiting = threading.Thread(target=poll)
        waiting.start()
        with gateway.client() as other:
            other.post(f"/v1/jobs/{job_id}:cancel")
        waiting.join(timeout=60)
    assert answers[0].json()["items"][0]["body"]["state"] == "CANCELLED"


def test_a_stream_of_events_resumes_after_the_last_one(gateway: Gateway) -> None:
    headers = {"Accept": "text/event-stream"}
    with gateway.client() as client, connected(gateway, "node_stream") as node:
        job_id = submitted(client)
        path = f"/v1/jobs/{job_id}/events"
        assign(gateway, job_id, "node_stream")
        work = node.assigned()
        node.report(work, 1, Started(at=1.0))
        node.wait_for_ack(1)
        with client.stream("GET", path, headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            stream = frames(answer)
            seen = [next(stream)]
        node.run(work, "text\n")
        resumed = headers | {"Last-Event-ID": seen[0][0]}
        with client.stream("GET", path, headers=resumed) as answer:
            seen += list(frames(answer))
    identifiers = [int(identifier) for identifier, _, _ in seen[:-1]]
    assert identifiers == list(range(1, len(identifiers) + 1))
    assert seen[-1][1] == "end"
    assert json.loads(seen[-1][2])["state"] == "SUCCEEDED"
    assert any(
        kind == "log" and json.loads(data)["body"]["text"] == "text\n" for _, kind, data in seen
    )


def test_followed_logs_end_with_the_job(gateway: Gateway) -> None:
    with gateway.client() as client, connected(gateway, "node_logs") as node:
        job_id = submitted(client)
        assign(gateway, job_id, "node_logs")
        work = node.assigned()
        node.report(work, 1, Started(at=1.0))
        node.report(work, 2, Log(at=1.0, stream="stdout", text="first\n"))
        node.wait_for_ack(2)
        with client.stream("GET", f"/v1/jobs/{job_id}/logs?follow=true") as answer:
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            text = answer.iter_text()
            received = next(text)
            node.run(work, "ignored: number 2 was reported\n", "last \N{SNOWMAN}\n")
            received += "".join(text)
        page = client.get(f"/v1/jobs/{job_id}/logs", headers={"Accept": "application/json"}).json()
    assert received == "first\nlast \N{SNOWMAN}\n"
    assert "".join(event["body"]["text"] for event in page["items"]) == received
    assert page["final"]


def test_a_stopped_gateway_ends_streams_and_exits_with_0(gateway: Gateway) -> None:
    second = start_gateway(gateway.home)
    with second.client() as client:
        job_id = submitted(client)
        path = f"/v1/jobs/{job_id}/logs?follow=true"
        with client.stream("GET", path) as answer, connected(second, "node_stopped") as node:
            assert second.stop() == 0
            assert list(answer.iter_bytes()) == []
            with pytest.raises(ConnectionClosed) as closed:
                node.receive()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
