import json

from tests.unit.cli.sample_jobs import JOB_ID, failure, job

from bcai.cli.document import job_document


def test_a_result_is_strict_json_with_values_at_hand() -> None:
    document = job_document(job(), metrics=[{"step": 1, "loss": float("nan")}], files=["a"])
    again = json.loads(json.dumps(document, allow_nan=False))
    assert again["id"] == JOB_ID
    assert again["state"] == "SUCCEEDED"
    assert again["outputs"]["loss"] == 0.0112
    assert again["outputs"]["model"]["kind"] == "state_dict"
    assert again["metrics"] == [{"step": 1, "loss": {"$number": "nan"}}]
    assert again["jail"] == "B"
    assert again["node"] == "box"
    assert again["files"] == ["a"]


def test_a_failure_names_code_message_and_hint() -> None:
    document = job_document(job(failure("boom", user_line=3)))
    assert document["reason"] == {"code": "user.exception", "message": "boom", "hint": "do better"}
    assert document["user_line"] == 3


def test_a_job_that_waits_has_no_outcome_yet() -> None:
    document = job_document(job(None, attempts=(), node_id=None))
    assert document["state"] == "QUEUED"
    assert document["outputs"] == {}
    assert document["usage"] is None
