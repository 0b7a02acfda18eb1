"""Blobs over HTTP."""

from collections.abc import Iterator
from http.client import HTTPConnection

import pytest

from bcai.base.digest import digest_of
from bcai.cluster.store.protocol import Role

from .gateway_process import SECRETS, Gateway, submitted
from .test_jobs import problem


def chunks(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 65_536):
        yield content[start : start + 65_536]


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", bytes(range(256)) * 20_000])
def test_what_is_put_comes_back(gateway: Gateway, content: bytes) -> None:
    path = f"/v1/blobs/{digest_of(content)}"
    with gateway.client() as client, gateway.client(Role.NODE) as node:
        problem(client.get(path), 404)
        assert client.head(path).status_code == 404
        assert client.put(path, content=chunks(content)).status_code == 201
        assert client.put(path, content=content).status_code == 200
        assert client.head(path).headers["content-length"] == str(len(content))
        assert node.get(path).content == content


def test_bytes_must_be_those_of_the_digest(gateway: Gateway) -> None:
    path = f"/v1/blobs/{digest_of(b'right')}"
    with gateway.client() as client:
        problem(client.put(path, content=b"wrong"), 422)
        assert client.head(path).status_code == 404


@pytest.mark.parametrize("digest", ["blake3:zz", "sha256:" + "0" * 64, "..%2f..", "%00"])
def test_a_digest_that_is_none_is_refused(gateway: Gateway, digest: str) -> None:
    with gateway.client() as client:
        for method in ("GET", "PUT"):
            assert client.request(method, f"/v1/blobs/{digest}").status_code in (404, 422)


def test_a_blob_over_the_limit_is_refused_before_it_is_sent(gateway: Gateway) -> None:
    connection = HTTPConnection(gateway.url.removeprefix("http://"), timeout=60)
    connection.putrequest("PUT", f"/v1/blobs/{digest_of(b'huge')}")
    connection.putheader("Authorization", f"Bearer {SECRETS[Role.CLIENT]}")
    connection.putheader("Content-Length", str(2**40))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_a_job_with_uploaded_files_is_accepted(gateway: Gateway) -> None:
    content = b"print('hello')\n"
    file = {"path": "main.py", "digest": digest_of(content), "size": len(content)}
    with gateway.client() as client:
        client.put(f"/v1/blobs/{file['digest']}", content=content)
        submitted(client, code=None, entry="main.py", files=[file])
        wrong = {"code": None, "entry": "main.py", "files": [file | {"size": 3}]}
        assert "the job says 3" in problem(client.post("/v1/jobs", json=wrong), 422).detail
