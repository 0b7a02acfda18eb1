"""A signature is over everything that a spec says, and holds for its time alone."""

from dataclasses import fields, replace
from typing import Any

import pytest

from bcai import InputError
from bcai.jobs.sign_spec import SKEW_S, check_signature, encode_spec, sign_spec
from bcai.jobs.signature import SignedBy
from bcai.jobs.spec import FileRef, Hardware, JobKind, JobSpec, Limits, Mount, SecurityLevel
from bcai.jobs.verify import Policy, Verify
from bcai.proof.keys import SigningKey
from bcai.wire.jobs import SPEC

KEY = SigningKey.from_random(bytes(range(32)))
NONCE = "0123456789abcdef" * 2
NOW = 1_700_000_000.5
FILE = FileRef("main.py", "blake3:" + "0" * 64, 3)
SPEC_OF_ALL = JobSpec(
    "job",
    entry="main.py",
    files=(FILE, FileRef("x.csv", "blake3:" + "1" * 64, 5, Mount.DATA)),
    arguments=("--a", "b"),
    requirements=("torch>=2",),
    labels={"b": "1", "a": "2"},
)
OTHERS: dict[str, Any] = {
    "name": "other",
    "code_name": "other.py",
    "entry": "x.py",
    "files": (FILE, FileRef("x.py", "blake3:" + "2" * 64, 5)),
    "arguments": ("--a", "c"),
    "requirements": ("torch>=3",),
    "hardware": Hardware(cpu_count=2),
    "limits": Limits(wall_s=7.0),
    "max_retries": 4,
    "required_outputs": ("model",),
    "reward_tokens": 1,
    "labels": {"b": "1", "a": "3"},
    "kind": JobKind.PROGRAM,
    "security_level": SecurityLevel.STANDARD,
    "environment": "ml",
    "verify": Verify(Policy.AUDITED, 0.25),
    "capture": True,
}


def signed(spec: JobSpec = SPEC_OF_ALL, **options: Any) -> JobSpec:
    given: dict[str, Any] = {"nonce": NONCE, "now": NOW, **options}
    return sign_spec(spec, KEY, **given)


def test_a_signature_holds_and_names_its_key() -> None:
    signature = check_signature(signed(), NOW)
    assert signature.key == "ed25519:" + KEY.public.hex()
    assert signature.by is SignedBy.CLIENT


@pytest.mark.parametrize("field", [field.name for field in fields(JobSpec)])
def test_every_field_is_signed(field: str) -> None:
    if field in ("code", "signature"):
        return
    # Only a program may be checked by others.
    spec = signed(replace(SPEC_OF_ALL, kind=JobKind.PROGRAM) if field == "verify" else SPEC_OF_ALL)
    changes = {field: OTHERS[field]}
    if field == "entry":
        changes["files"] = OTHERS["files"]
    with pytest.raises(InputError, match="something was altered after it was signed"):
        check_signature(replace(spec, **changes), NOW)


def test_code_and_every_limit_and_term_are_signed() -> None:
    spec = signed(JobSpec("job", code="x = 1"))
    assert spec.signature is not None
    altered = [replace(spec, code="x = 2")]
    for field in fields(Limits):
        value = (getattr(spec.limits, field.name) or 1) * 2
        altered.append(replace(spec, limits=replace(spec.limits, **{field.name: value})))
    for name, value in (
        ("nonce", "f" * 32),
        ("issued_at", int(NOW) - 1),
        ("expires_at", int(NOW) + 1),
        ("by", SignedBy.GATEWAY),
        ("key", "ed25519:" + SigningKey.from_random(bytes(32)).public.hex()),
        ("value", "0" * 128),
    ):
        altered.append(replace(spec, signature=replace(spec.signature, **{name: value})))
    for each in altered:
        with pytest.raises(InputError, match="altered"):
            check_signature(each, NOW)


def test_a_spec_that_travelled_is_the_same_bytes() -> None:
    spec = signed(replace(SPEC_OF_ALL, limits=Limits(wall_s=60)))
    again = SPEC.validate_json(SPEC.dump_json(spec))
    assert encode_spec(again) == encode_spec(spec)
    check_signature(again, NOW)


def test_it_holds_in_its_time_alone() -> None:
    spec = signed(valid_s=10)
    check_signature(spec, NOW + 10 + SKEW_S - 1)
    with pytest.raises(InputError, match="expired"):
        check_signature(spec, NOW + 11 + SKEW_S)
    with pytest.raises(InputError, match="in the future"):
        check_signature(spec, NOW - SKEW_S - 2)


def test_what_is_no_signature_is_told() -> None:
    with pytest.raises(InputError, match="not signed"):
        check_signature(SPEC_OF_ALL, NOW)
    spec = signed()
    assert spec.signature is not None
    for name, value in (("nonce", "x"), ("key", "rsa:1"), ("value", "zz")):
        damaged = replace(spec, signature=replace(spec.signature, **{name: value}))
        with pytest.raises(InputError, match="signature"):
            check_signature(damaged, NOW)


def test_the_bytes_stay_as_they_are() -> None:
    assert encode_spec(signed(JobSpec("a", code="x=1", labels={"k": "v"}))).hex() == GOLDEN


GOLDEN = (
    "626361692d737065630083019082646e616d6561618264636f646563783d318269636f64655f6e616d65666a"
    "6f622e70798265656e747279f6826566696c6573808269617267756d656e747380826c726571756972656d65"
    "6e747380826868617264776172658482696370755f636f756e740182696770755f636f756e74008270677075"
    "5f6d656d6f72795f627974657300826c6d656d6f72795f62797465730082666c696d6974738a826677616c6c"
    "5f73fb40ac200000000000826c6d656d6f72795f62797465731b000000010000000082696c6f675f62797465"
    "731a01000000826c6f75747075745f62797465731a20000000826a6469736b5f62797465731a400000008269"
    "70726f636573736573188082646675656cf682656370755f73f6826a66696c655f6279746573f68266696e6f"
    "6465731a00010000826b6d61785f7265747269657303827072657175697265645f6f75747075747380826d72"
    "65776172645f746f6b656e730082666c6162656c738182616b617682646b696e6466707974686f6e826e7365"
    "6375726974795f6c6576656c6468696768826b656e7669726f6e6d656e74f6857848656432353531393a3033"
    "6131303762666633636531306265316437306464313865373462633039393637653464363330396261353064"
    "3566316464633836363431323535333162387820303132333435363738396162636465663031323334353637"
    "38396162636465661a6553f1001a657b7e0066636c69656e74"
)
