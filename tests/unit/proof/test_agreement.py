"""An agreement: one form, one signer, and a witness that only who computed to the end can make."""

from base64 import b64decode, b64encode
from dataclasses import replace

import pytest
from tests.unit.proof.small_run import training

from bcai.base.errors import FormatError, InputError
from bcai.base.merkle import TreeHead
from bcai.proof.agreement import (
    Agreement,
    SignedAgreement,
    agreement_text,
    read_agreement,
    sign_agreement,
    witness_of,
)
from bcai.proof.execute import execute
from bcai.proof.keys import SigningKey
from bcai.proof.last_step import LastStepTraced
from bcai.proof.state import hash_tensors
from bcai.proof.step_trace import StepLayout, trace_step

SMALL = training()
KEY, OTHER = (SigningKey.from_random(bytes([number]) * 32) for number in (1, 2))
WORDS = Agreement(
    job_id="job_1",
    receipt=bytes(32),
    trace=TreeHead(3, b"\1" * 32),
    witness=b"\2" * 32,
    challenger=KEY.public,
    claimed_at=1.5,
)


@pytest.mark.parametrize("change", [{}, {"witness": None}, {"trace": None, "witness": None}])
def test_it_comes_back_as_it_was_signed(change: dict[str, None]) -> None:
    words = replace(WORDS, **change)
    signed = sign_agreement(words, KEY)
    found = read_agreement(agreement_text(signed))
    assert found == signed
    assert found.is_signed


def test_the_bytes_stand() -> None:
    """Golden: other versions and other programs read these."""
    data = b64decode(agreement_text(SignedAgreement(WORDS, bytes(64))))
    assert data[64:].hex() == (
        b"bcai-agreement\0".hex() + "8701656a6f625f31" + "5820" + "00" * 32
        + "82035820" + "01" * 32 + "5820" + "02" * 32 + "5820" + KEY.public.hex()
        + "fb3ff8000000000000"
    )  # fmt: skip


def test_what_another_key_or_nobody_signed_is_seen() -> None:
    signed = sign_agreement(WORDS, KEY)
    assert not replace(signed, agreement=replace(WORDS, challenger=OTHER.public)).is_signed
    assert not replace(signed, agreement=replace(WORDS, trace=TreeHead(4, bytes(32)))).is_signed
    with pytest.raises(InputError, match="names another key"):
        sign_agreement(WORDS, OTHER)
    data = b64decode(agreement_text(signed))
    for other in (data[:-1], data[:64], data + b"\0"):
        with pytest.raises(FormatError):
            read_agreement(b64encode(other).decode())
    with pytest.raises(FormatError, match="not base64"):
        read_agreement("%")


def test_the_last_step_is_traced_while_the_run_goes_on() -> None:
    watched = LastStepTraced(SMALL.compiled(), SMALL.program, SMALL.run.steps)
    steps = [*execute(SMALL.feeder(), SMALL.program, watched, SMALL.state)]
    plain = [*execute(SMALL.feeder(), SMALL.program, SMALL.compiled(), SMALL.state)]
    assert [hash_tensors(each.state) for each in steps] == [
        hash_tensors(each.state) for each in plain
    ]
    last = SMALL.run.steps - 1
    inputs, state = SMALL.feeder().inputs(last), plain[last - 1].state
    expected = trace_step(StepLayout(SMALL.program), SMALL.compiled(), inputs, state).tree.head
    assert watched.head == expected


def test_a_witness_is_of_one_challenger_and_one_trace() -> None:
    head = TreeHead(5, bytes(32))
    found = {
        witness_of(KEY.public, head),
        witness_of(OTHER.public, head),
        witness_of(KEY.public, TreeHead(6, bytes(32))),
        witness_of(KEY.public, TreeHead(5, b"\1" * 32)),
    }
    assert len(found) == 4
    assert witness_of(KEY.public, head) in found
