"""A node runs what was signed, once, and remembers it when it is started again."""

from pathlib import Path

import pytest

from bcai import InputError
from bcai.cluster.node.signatures import SignatureGate
from bcai.jobs.sign_spec import sign_spec
from bcai.jobs.spec import JobSpec
from bcai.proof.keys import SigningKey

KEY = SigningKey.from_random(bytes(range(32)))
NOW = 1_700_000_000.0


def signed(number: int) -> JobSpec:
    return sign_spec(JobSpec("a", code="x=1"), KEY, nonce=f"{number:032x}", now=NOW)


def test_a_job_may_be_tried_again_but_not_under_another_number(tmp_path: Path) -> None:
    gate = SignatureGate(tmp_path / "signatures", NOW)
    gate.admit(signed(1), "job_1", NOW)
    gate.admit(signed(1), "job_1", NOW + 5)
    with pytest.raises(InputError, match="signed once, for job_1, and is not run again as job_2"):
        gate.admit(signed(1), "job_2", NOW)
    gate.admit(signed(2), "job_2", NOW)


def test_it_remembers_over_a_restart_until_the_signature_expires(tmp_path: Path) -> None:
    file = tmp_path / "signatures"
    SignatureGate(file, NOW).admit(signed(1), "job_1", NOW)
    with file.open("a") as stream:
        stream.write("torn li")
    with pytest.raises(InputError, match="for job_1"):
        SignatureGate(file, NOW).admit(signed(1), "job_2", NOW)
    later = NOW + 40 * 86_400
    SignatureGate(file, later)
    assert file.read_text() == ""


def test_what_is_not_signed_does_not_enter(tmp_path: Path) -> None:
    gate = SignatureGate(tmp_path / "signatures", NOW)
    with pytest.raises(InputError, match="not signed"):
        gate.admit(JobSpec("a", code="x=1"), "job_1", NOW)
