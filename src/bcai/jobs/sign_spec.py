r"""Signed specs: what a client asked for, so that nobody on the way can change it.

    b"bcai-spec\x00" then canonical CBOR of
    [version, [[field, value], ...] of the spec, [key, nonce, issued at, expires at, by]]

A field's value is a number, text, null or truth value; a list; for labels, pairs in ascending order
of the key's UTF-8 bytes; for parts such as limits, pairs of field and value again. Fields stand in
the order in which `JobSpec` declares them. `verify` is left out where it is none, its `replicas`
where they are 1, `capture` where it is false: they came later, and signatures from before hold.
"""

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, cast

from bcai.base.errors import FormatError, InputError
from bcai.base.units import format_duration_s
from bcai.jobs.signature import SignedBy, SpecSignature
from bcai.jobs.spec import JobSpec
from bcai.jobs.verify import NO_CHECK, Verify
from bcai.proof.keys import Domain, SigningKey, is_signed, key_id, parse_key_id
from bcai.vm.program import cbor

MAGIC = b"bcai-spec\x00"
VERSION = 1
VALID_S = 30 * 86_400
"""How long a signature lasts if nobody says otherwise: a job may wait long for a node."""
SKEW_S = 300
"""How far two machines' clocks may be apart."""

_NONCE = re.compile(r"[0-9a-f]{32}\Z")


def sign_spec(
    spec: JobSpec,
    key: SigningKey,
    *,
    nonce: str,
    now: float,
    valid_s: int = VALID_S,
    by: SignedBy = SignedBy.CLIENT,
) -> JobSpec:
    """The same spec, signed."""
    issued_at = int(now)
    unsigned = SpecSignature(key_id(key.public), nonce, issued_at, issued_at + valid_s, by)
    content = encode_spec(replace(spec, signature=unsigned))
    value = key.sign(Domain.SPEC, content).hex()
    return replace(spec, signature=replace(unsigned, value=value))


def check_signature(spec: JobSpec, now: float) -> SpecSignature:
    """The signature of a spec, which holds.

    Raises
    ------
    InputError
        There is none, it is of other content, or its time is over or not yet come.
    """
    signature = spec.signature
    if signature is None:
        raise InputError("the job is not signed", hint="submit it with the SDK or bcai run")
    if not _NONCE.match(signature.nonce):
        raise InputError(f"signature: nonce is {signature.nonce!r}, expected 32 hexadecimal digits")
    try:
        public, value = parse_key_id(signature.key), bytes.fromhex(signature.value)
    except (FormatError, ValueError) as error:
        raise InputError(f"signature: {error}") from error
    if not is_signed(public, Domain.SPEC, encode_spec(spec), value):
        raise InputError(
            f"the signature of {signature.key[:24]}... is not of this job: something was altered "
            "after it was signed"
        )
    if now > signature.expires_at + SKEW_S:
        late = format_duration_s(now - signature.expires_at)
        raise InputError(f"the job's signature expired {late} ago", hint="submit the job again")
    if now < signature.issued_at - SKEW_S:
        early = format_duration_s(signature.issued_at - now)
        raise InputError(f"the job was signed {early} in the future", hint="set the clocks right")
    return signature


def encode_spec(spec: JobSpec) -> bytes:
    """Canonical bytes of a spec with the terms of its signature, but not its value."""
    terms = spec.signature
    assert terms is not None
    left_out = {"signature"} | ({"verify"} if spec.verify == NO_CHECK else set[str]())
    left_out |= set[str]() if spec.capture else {"capture"}
    content = [pair for pair in _pairs(spec) if pair[0] not in left_out]
    signed = [terms.key, terms.nonce, terms.issued_at, terms.expires_at, terms.by.value]
    return MAGIC + cbor.encode([VERSION, content, signed])


def _pairs(part: Any) -> list[list[Any]]:
    found: list[list[Any]] = []
    for field in fields(part):
        value: Any = getattr(part, field.name)
        if isinstance(part, Verify) and field.name == "replicas" and value == 1:
            continue
        # Seconds may be given as whole numbers, and are not the same bytes then.
        if field.type in (float, float | None) and value is not None:
            value = float(value)
        found.append([field.name, _plain(value)])
    return found


def _plain(value: object) -> Any:
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return _pairs(value)
    if isinstance(value, tuple | list):
        return [_plain(each) for each in cast("tuple[object, ...]", value)]
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, object]", value).items()
        return [
            [key, _plain(each)] for key, each in sorted(pairs, key=lambda pair: pair[0].encode())
        ]
    return value
