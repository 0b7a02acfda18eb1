"""What the gateway refuses while nodes are online."""

from bcai.wire.jobs import Problem

from .gateway_process import Gateway
from .node_side import connected


def test_what_was_accepted_before_is_not_refused_when_it_is_repeated(gateway: Gateway) -> None:
    body = {"code": "x", "requirements": ["not-installed-here"]}
    headers = {"Idempotency-Key": "accepted-while-no-node-was-online"}
    with gateway.client() as client:
        first = client.post("/v1/jobs", json=body, headers=headers)
        assert first.status_code == 201
        with connected(gateway, "node_later"):
            assert client.post("/v1/jobs", json=body).status_code == 403
            again = client.post("/v1/jobs", json=body, headers=headers)
    assert again.status_code == 200
    assert again.json()["id"] == first.json()["id"]


def test_a_job_that_no_node_could_run_is_refused(gateway: Gateway) -> None:
    with gateway.client() as client, connected(gateway, "node_offers"):
        answer = client.post("/v1/jobs", json={"code": "x", "requirements": ["trch"]})
        assert answer.status_code == 403
        problem = Problem.model_validate_json(answer.content)
        assert problem.code == "policy.refused"
        assert "trch" in problem.detail
        assert problem.hint == "did you mean 'torch'?"
        answer = client.post("/v1/jobs", json={"code": "x", "hardware": {"gpu_memory": "8GB"}})
        assert "needs 1 GPU with 7.5 GiB" in answer.json()["detail"]
        answer = client.post("/v1/jobs", json={"code": "x", "requirements": ["torch>=1.12"]})
        assert answer.status_code == 201


def test_a_script_that_is_certain_to_fail_is_refused_with_its_line(gateway: Gateway) -> None:
    certain = "x = 1\nimport subprocess\nsubprocess.run(['ls'])\n"
    with gateway.client() as client:
        answer = client.post("/v1/jobs", json={"code": certain})
        assert answer.status_code == 403
        problem = Problem.model_validate_json(answer.content)
        assert problem.code == "policy.refused"
        assert problem.detail.startswith("job.py:3:1: ")
        assert "not accepted" in problem.detail
        for unsure in (
            "if __debug__: pass\ndef f():\n    " + certain[6:].replace("\n", "; "),
            "((",
        ):
            assert client.post("/v1/jobs", json={"code": unsure}).status_code == 201
