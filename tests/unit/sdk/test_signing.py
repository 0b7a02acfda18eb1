"""What a user submits is signed with a key of their own; where none can be kept, the gateway's."""

import logging
from pathlib import Path

import pytest

from bcai.jobs.sign_spec import check_signature
from bcai.proof.keys import key_id, own_key
from bcai.sdk.signing import sign_submission
from bcai.wire.submission import JobSubmission

NONCE = "0123456789abcdef" * 2


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BCAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BCAI_CONFIG", str(tmp_path / "none.toml"))
    return tmp_path / "home"


def test_a_submission_is_signed_with_the_same_key_every_time(home: Path) -> None:
    submission = JobSubmission(code="x = 1", timeout=60, labels={"a": "b"})
    specs = [sign_submission(submission, NONCE).to_spec() for _ in range(2)]
    for spec in specs:
        assert spec.signature is not None
        check_signature(spec, spec.signature.issued_at)
        assert spec.signature.nonce == NONCE
        assert spec.signature.key == key_id(own_key(home / "client.pem", bytes).public)
    assert (home / "client.pem").stat().st_mode & 0o077 == 0


def test_it_survives_the_way_to_the_gateway(home: Path) -> None:
    signed = sign_submission(JobSubmission(code="x = 1", timeout=60), NONCE)
    arrived = JobSubmission.model_validate_json(signed.model_dump_json(exclude_unset=True))
    spec = arrived.to_spec()
    assert spec.signature is not None
    check_signature(spec, spec.signature.issued_at)


def test_without_a_place_for_a_key_it_goes_unsigned_aloud(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home.write_text("a file where the folder should be")
    submission = JobSubmission(code="x = 1")
    with caplog.at_level(logging.WARNING, "bcai.network"):
        assert sign_submission(submission, NONCE).signature is None
    assert "not signed by you but by the gateway" in caplog.text
