"""Submit, list, show and cancel jobs, as a client sees it."""

import httpx
import pytest

from bcai.cluster.store.protocol import Role
from bcai.wire.jobs import Problem

from .gateway_process import OTHER_CLIENT, Gateway, submitted


def problem(answer: httpx.Response, status: int) -> Problem:
    """Check that an answer is a problem of this status, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = Problem.model_validate_json(answer.content)
    assert found.status == status
    return found


def test_a_submitted_job_is_where_location_says(gateway: Gateway) -> None:
    with gateway.client() as client:
        answer = client.post("/v1/jobs", json={"code": "print(1)", "timeout": "90s"})
        assert answer.status_code == 201
        shown = client.get(answer.headers["location"])
    assert shown.json() == answer.json()
    assert shown.json()["state"] == "QUEUED"
    assert shown.json()["spec"]["limits"]["wall_s"] == 90


def test_an_idempotency_key_makes_one_job(gateway: Gateway) -> None:
    headers = {"Idempotency-Key": "once"}
    with gateway.client() as client:
        first = client.post("/v1/jobs", json={"code": "x = 1"}, headers=headers)
        again = client.post("/v1/jobs", json={"code": "x = 1"}, headers=headers)
        other = client.post("/v1/jobs", json={"code": "x = 2"}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    assert "idempotent-replayed" not in first.headers
    assert problem(other, 409).code == "input.conflict"


def test_pages_hold_every_job_once_newest_first(gateway: Gateway) -> None:
    with gateway.client(secret=OTHER_CLIENT) as client:
        made = [submitted(client, name=f"page-{number}") for number in range(5)]
        found: list[str] = []
        token = None
        for _ in range(10):
            parameters = {"page_size": "2", **({"page_token": token} if token else {})}
            page = client.get("/v1/jobs", params=parameters).json()
            found += [item["id"] for item in page["items"]]
            token = page["next_page_token"]
            if token is None:
                break
    assert found == made[::-1]


def test_a_page_token_belongs_to_its_listing(gateway: Gateway) -> None:
    with gateway.client() as client, gateway.client(secret=OTHER_CLIENT) as other:
        submitted(client)
        submitted(client)
        token = client.get("/v1/jobs", params={"page_size": 1}).json()["next_page_token"]
        used = {"page_token": token}
        assert client.get("/v1/jobs", params=used).status_code == 200
        problem(client.get("/v1/jobs", params=used | {"state": "RUNNING"}), 422)
        problem(other.get("/v1/jobs", params=used), 422)
        problem(client.get("/v1/jobs", params={"page_token": "x"}), 422)


def test_a_list_filters_by_state(gateway: Gateway) -> None:
    with gateway.client() as client:
        cancelled, queued = submitted(client), submitted(client)
        client.post(f"/v1/jobs/{cancelled}:cancel")
        page = client.get("/v1/jobs", params={"state": "CANCELLED", "page_size": 200}).json()
    found = {item["id"] for item in page["items"]}
    assert cancelled in found
    assert queued not in found


def test_an_unchanged_job_is_not_sent_twice(gateway: Gateway) -> None:
    with gateway.client() as client:
        path = f"/v1/jobs/{submitted(client)}"
        tag = client.get(path).headers["etag"]
        unchanged = client.get(path, headers={"If-None-Match": f'"other", W/{tag}'})
        assert unchanged.status_code == 304
        assert unchanged.content == b""
        client.post(f"{path}:cancel")
        changed = client.get(path, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


def test_cancelling_twice_is_harmless(gateway: Gateway) -> None:
    with gateway.client() as client:
        path = f"/v1/jobs/{submitted(client)}"
        first, second = client.post(f"{path}:cancel"), client.post(f"{path}:cancel")
    assert first.json()["state"] == "CANCELLED"
    assert second.json() == first.json()


def test_jobs_of_others_do_not_exist(gateway: Gateway) -> None:
    with gateway.client() as owner, gateway.client(secret=OTHER_CLIENT) as other:
        job_id = submitted(owner)
        for path in ("", "/results", "/logs", "/events", "/outputs/x"):
            problem(other.get(f"/v1/jobs/{job_id}{path}"), 404)
        problem(other.post(f"/v1/jobs/{job_id}:cancel"), 404)
        listed = other.get("/v1/jobs", params={"page_size": 200}).json()["items"]
        assert job_id not in {item["id"] for item in listed}
    with gateway.client(Role.ADMIN) as admin:
        assert admin.get(f"/v1/jobs/{job_id}").status_code == 200


def test_results_wait_for_the_end(gateway: Gateway) -> None:
    with gateway.client() as client:
        job_id = submitted(client)
        waiting = problem(client.get(f"/v1/jobs/{job_id}/results"), 409)
        assert waiting.state == "QUEUED"
        problem(client.get(f"/v1/jobs/{job_id}/outputs/loss"), 409)
        client.post(f"/v1/jobs/{job_id}:cancel")
        ended = client.get(f"/v1/jobs/{job_id}/results")
    assert ended.status_code == 200
    assert ended.json()["state"] == "CANCELLED"
    assert ended.json()["outcome"]["reason"]["code"] == "job.cancelled"


@pytest.mark.parametrize(
    "job_id", ["nonsense", "job_", "%00", "job_%0a", "a" * 5000, "..", "%ff%fe", "x:y"]
)
def test_an_id_that_is_none_is_not_found(gateway: Gateway, job_id: str) -> None:
    with gateway.client() as client:
        assert client.get(f"/v1/jobs/{job_id}/events").status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({"cod": "x"}, "/cod", "unknown; did you mean 'code'?"),
        ({"code": "a\0b"}, "/code", "NUL character at position 1"),
        ({"code": "x", "timeout": "soon"}, "/timeout", 'found "soon"; expected such as'),
        ({"code": "x", "name": ""}, "/name", 'found ""; expected at least 1 character'),
        ({"code": "x", "signature": {}}, "/signature/key", "found nothing; expected a value"),
        ({"code": "x", "hardware": {"memory": []}}, "/hardware/memory", "found []; expected a num"),
        ({"code": "x", "hardware": {"memory": 1e300}}, "/hardware/memory", "expected at most"),
        ({"code": "x", "arguments": ["ok", "\0"]}, "/arguments/1", "NUL"),
        ({"code": "x", "max_retries": "3"}, "/max_retries", "expected a number"),
        ({"code": "x", "labels": {"a\0": "b"}}, "/labels", "NUL"),
    ],
)
def test_a_wrong_field_is_named(
    gateway: Gateway, body: dict[str, object], pointer: str, words: str
) -> None:
    with gateway.client() as client:
        found = problem(client.post("/v1/jobs", json=body), 422)
    details = {field.pointer: field.detail for field in found.errors}
    assert any(words in detail for at, detail in details.items() if at.startswith(pointer)), details


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "'code' or 'entry'"),
        ({"code": "x", "entry": "main.py"}, "exactly one"),
        ({"code": "x", "requirements": ["not a requirement!"]}, "requirement"),
        ({"code": "x", "requirements": ["torch @ https://example.org/x"]}, "URL"),
        ({"entry": "../main.py"}, "main.py"),
    ],
)
def test_parts_that_do_not_fit_are_explained(
    gateway: Gateway, body: dict[str, object], words: str
) -> None:
    with gateway.client() as client:
        assert words in problem(client.post("/v1/jobs", json=body), 422).detail


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"code": "\\ud800"}', b"[" * 100_000, b"\xff\xfe", b"1" * 5000],
)
def test_a_body_that_is_no_submission_is_refused(gateway: Gateway, content: bytes) -> None:
    with gateway.client() as client:
        headers = {"Content-Type": "application/json"}
        problem(client.post("/v1/jobs", content=content, headers=headers), 422)


def test_json_that_breaks_off_is_located(gateway: Gateway) -> None:
    with gateway.client() as client:
        headers = {"Content-Type": "application/json"}
        answer = client.post("/v1/jobs", content=b'{\n  "code": }', headers=headers)
    found = problem(answer, 422)
    assert found.code == "input.format"
    assert "line 2, column 11" in str(found.errors)


def test_a_body_over_the_limit_is_refused(gateway: Gateway) -> None:
    chunks = [b" " * 1_000_000] * 22
    headers = {"Content-Type": "application/json"}
    with gateway.client() as client:
        problem(client.post("/v1/jobs", content=b" " * 22_000_000, headers=headers), 413)
        problem(client.post("/v1/jobs", content=iter(chunks), headers=headers), 413)


def test_files_must_have_been_uploaded(gateway: Gateway) -> None:
    digest = "blake3:" + "1" * 64
    body = {"entry": "main.py", "files": [{"path": "main.py", "digest": digest, "size": 1}]}
    with gateway.client() as client:
        found = problem(client.post("/v1/jobs", json=body), 422)
    assert "'main.py'" in found.detail
    assert f"PUT /v1/blobs/{digest}" in found.hint


def test_a_reward_is_recorded_and_said_to_be_unpaid(gateway: Gateway) -> None:
    with gateway.client() as client:
        answer = client.post("/v1/jobs", json={"code": "x", "reward_tokens": 100})
    assert answer.json()["warnings"] == ["no ledger on this network: nothing will be paid"]
