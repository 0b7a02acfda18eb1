import json
from dataclasses import replace

from tests.unit.cli.sample_jobs import JOB_ID, SUCCESS, failure, job

from bcai.bridge.sandbox.jail import JailLimits
from bcai.bridge.sandbox.level import JailReport
from bcai.cli.document import job_document
from bcai.wire.jobs import OUTCOME


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


def test_limits_that_count_are_whole_numbers_after_the_journey_too() -> None:
    limits = JailLimits(90.5, 2**30, 2**20, 2**20, 2**20, processes=128)
    outcome = replace(SUCCESS, jail=JailReport("A", limits=limits.in_force()))
    arrived = OUTCOME.validate_json(OUTCOME.dump_json(outcome))
    text = json.dumps(job_document(job(arrived))["limits"])
    assert '"wall_s": 90.5, "memory_bytes": 1073741824, ' in text
    assert '"processes": 128, "inodes": 65536, ' in text
