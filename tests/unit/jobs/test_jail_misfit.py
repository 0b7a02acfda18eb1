"""A job never lands on a node whose jail is weaker than it asks for."""

from dataclasses import replace

import pytest

from bcai.base.errors import InputError
from bcai.base.units import GIB
from bcai.bridge.sandbox.level import JailReport
from bcai.jobs.node import Capabilities
from bcai.jobs.outcome import ReasonCode
from bcai.jobs.placement import misfit
from bcai.jobs.spec import FileRef, JobKind, JobSpec, SecurityLevel

NODE = Capabilities(
    cpu_count=4, memory_bytes=8 * GIB, slots=4, python="3.11.7", packages={}, jail=JailReport("A")
)
LACKING = "own namespaces: refused. Needed: another container"


def node(level: str, *trusted: str) -> Capabilities:
    missing = () if level == "A" else (LACKING,)
    return replace(NODE, jail=JailReport(level, missing=missing), trusted_owners=trusted)


def job(asked: SecurityLevel) -> JobSpec:
    return JobSpec(name="job", code="x", security_level=asked)


def reason(asked: SecurityLevel, where: Capabilities, owner: str = "key_me") -> tuple[str, str]:
    found = misfit(job(asked), where, gpu_fallback=False, owner=owner)
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
    code, words = reason(asked, node("none", "key_me"))
    assert code == ReasonCode.NO_JAIL
    assert LACKING in words
    assert reason(SecurityLevel.TRUSTED, node("none", "key_me")) == ("", "")


@pytest.mark.parametrize("level", ["A", "B", "C", "none"])
def test_trust_is_the_nodes_to_give(level: str) -> None:
    assert reason(SecurityLevel.TRUSTED, node(level, "key_other"))[0] == ReasonCode.NOT_TRUSTED
    assert reason(SecurityLevel.TRUSTED, node(level, "key_me"), "")[0] == ReasonCode.NOT_TRUSTED
    words = reason(SecurityLevel.TRUSTED, node(level))[1]
    assert "'key_me'" in words
    assert "trusted_owners" in words


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
