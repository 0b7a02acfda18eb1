"""Keys, roles, and what everybody gets to see."""

import re

import pytest

from bcai.cluster.store.protocol import Role

from .gateway_process import Gateway, submitted
from .test_jobs import problem


@pytest.mark.parametrize(
    "header",
    [None, "Bearer", "Bearer bcai_unknown", "Basic Yjph", "Bearer a b"],
)
def test_without_a_known_key_nothing_is_told(gateway: Gateway, header: str | None) -> None:
    with gateway.client(role=None) as client:
        headers = {"Authorization": header} if header else {}
        for path in ("/v1/jobs", "/v1/nodes", "/v1/keys", "/v1/no-such-thing"):
            answer = client.get(path, headers=headers)
            refused = problem(answer, 401)
            assert refused.code == "auth.missing"
            assert header is not None or "BCAI_API_KEY" in refused.hint
            assert answer.headers["www-authenticate"].startswith("Bearer")


def test_health_needs_no_key(gateway: Gateway) -> None:
    with gateway.client(role=None) as client:
        assert client.get("/v1/health").json()["status"] == "ok"


@pytest.mark.parametrize(
    ("role", "method", "path"),
    [
        (Role.NODE, "GET", "/v1/jobs"),
        (Role.NODE, "POST", "/v1/jobs"),
        (Role.CLIENT, "GET", "/v1/keys"),
        (Role.CLIENT, "POST", "/v1/keys"),
        (Role.NODE, "DELETE", "/v1/keys/key_x"),
    ],
)
def test_roles_stay_in_their_place(gateway: Gateway, role: Role, method: str, path: str) -> None:
    body = {"code": "x"} if path == "/v1/jobs" else {"name": "x"}
    with gateway.client(role) as client:
        answer = client.request(method, path, json=body)
    assert problem(answer, 403).code == "auth.forbidden"


def test_a_key_works_until_it_is_revoked(gateway: Gateway) -> None:
    with gateway.client(Role.ADMIN) as admin:
        made = admin.post("/v1/keys", json={"name": "laptop", "role": "client"})
        assert made.status_code == 201
        secret, key_id = made.json()["secret"], made.json()["id"]
        assert re.fullmatch(r"bcai_[\w-]{43}", secret)
        with gateway.client(secret=secret) as client:
            submitted(client)
            assert admin.delete(f"/v1/keys/{key_id}").json()["revoked_at"] is not None
            problem(client.get("/v1/jobs"), 401)
        listed = admin.get("/v1/keys")
    assert secret not in listed.text
    assert key_id in listed.text


def test_an_admin_cannot_lock_itself_out(gateway: Gateway) -> None:
    with gateway.client(Role.ADMIN) as admin:
        own = next(key for key in admin.get("/v1/keys").json()["items"] if key["name"] == "admin")
        problem(admin.delete(f"/v1/keys/{own['id']}"), 409)
        problem(admin.delete("/v1/keys/key_unknown"), 404)


def test_unknown_paths_and_methods_are_problems_too(gateway: Gateway) -> None:
    with gateway.client() as client:
        problem(client.get("/nowhere"), 404)
        problem(client.get("/v1/nowhere"), 404)
        answer = client.delete("/v1/jobs")
        problem(answer, 405)
        assert answer.headers["allow"] == "GET, POST"


def test_every_answer_has_the_security_headers(gateway: Gateway) -> None:
    with gateway.client(role=None) as client:
        for path in ("/v1/health", "/v1/jobs", "/nowhere", "/openapi.json"):
            headers = client.get(path, headers={"Origin": "https://example.org"}).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "access-control-allow-origin" not in headers
            assert "server" not in headers
