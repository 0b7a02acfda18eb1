"""A job never lands on a node whose jail is weaker than it asks for."""

from dataclasses import replace

import pytest

from bcai.base.errors import InputError
from bcai.base.units import GIB
from bcai.bridge.sandbox.level import JailReport
from bcai.jobs.node import Capabilities
from bcai.jobs.outcome import ReasonCode
from bcai.jobs.placement import misfit
from bcai.jobs.sign_spec import sign_spec
from bcai.jobs.signature import SignedBy
from bcai.jobs.spec import FileRef, JobKind, JobSpec, SecurityLevel
from bcai.proof.keys import SigningKey, key_id

NODE = Capabilities(
    cpu_count=4, memory_bytes=8 * GIB, slots=4, python="3.11.7", packages={}, jail=JailReport("A")
)
MINE, OTHER = (SigningKey.from_random(bytes([number] * 32)) for number in (1, 2))
MY_ID, OTHER_ID = key_id(MINE.public), key_id(OTHER.public)
NOW = 1_700_000_000.0
LACKING = "own namespaces: refused. Needed: another container"


def node(level: str, *trusted: str) -> Capabilities:
    missing = () if level == "A" else (LACKING,)
    return replace(NODE, jail=JailReport(level, missing=missing), trusted_keys=trusted)


def job(asked: SecurityLevel, by: SignedBy | None = SignedBy.CLIENT) -> JobSpec:
    spec = JobSpec(name="job", code="x", security_level=asked)
    return spec if by is None else sign_spec(spec, MINE, nonce="0" * 32, now=NOW, by=by)


def reason(
    asked: SecurityLevel, where: Capabilities, by: SignedBy | None = SignedBy.CLIENT
) -> tuple[str, str]:
    found = misfit(job(asked, by), where, gpu_fallback=False)
    return ("", "") if found is None else (found.code, f"{found.message}; {found.hint}")


@pytest.mark.parametrize("level", ["A", "B"])
@pytest.mark.parametrize("asked", [SecurityLevel.HIGH, SecurityLevel.STANDARD])
def test_namespaces_are_enough_for_all_but_trust(level: str, asked: SecurityLevel) -> None:
    assert reason(asked, node(level)) == ("", "")


def test_level_c_runs_standard_jobs_and_says_so_to_others() -> None:
    assert reason(SecurityLevel.STANDARD, node("C")) == ("", "")
    code, words = reason(SecurityLevel.HIGH, node("C"))
    assert code == ReasonCode.NO_JAIL
    for part in ("'high'", "level C", "'standard'", LACKING):
        assert part in words


@pytest.mark.parametrize("asked", [SecurityLevel.HIGH, SecurityLevel.STANDARD])
def test_without_a_jail_only_trust_runs(asked: SecurityLevel) -> None:
    code, words = reason(asked, node("none", MY_ID))
    assert code == ReasonCode.NO_JAIL
    assert LACKING in words
    assert reason(SecurityLevel.TRUSTED, node("none", MY_ID)) == ("", "")


@pytest.mark.parametrize("level", ["A", "B", "C", "none"])
def test_trust_is_the_nodes_to_give(level: str) -> None:
    assert reason(SecurityLevel.TRUSTED, node(level, OTHER_ID, MY_ID)) == ("", "")
    code, words = reason(SecurityLevel.TRUSTED, node(level, OTHER_ID))
    assert code == ReasonCode.NOT_TRUSTED
    assert f"add {MY_ID!r} to trusted_keys in [node]" in words


@pytest.mark.parametrize("by", [None, SignedBy.GATEWAY])
def test_what_no_client_signed_is_not_trusted(by: SignedBy | None) -> None:
    code, words = reason(SecurityLevel.TRUSTED, node("A", MY_ID), by)
    assert code == ReasonCode.NOT_TRUSTED
    assert "no client signed this one" in words
    assert "bcai keys own" in words


def test_only_python_has_a_security_level_to_choose() -> None:
    file = FileRef("m.wasm", "blake3:" + "0" * 64, 1)
    with pytest.raises(InputError, match="security_level: found 'standard'"):
        JobSpec(
            name="m",
            entry="m.wasm",
            files=(file,),
            kind=JobKind.WASM,
            security_level=SecurityLevel.STANDARD,
        )
