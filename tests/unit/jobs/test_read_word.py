"""A node's answer counts only if it signed it: for this job, on the machine that was asked."""

from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.proof.python_words import FINGERPRINT, NODES, SPEC, word

from bcai.base.errors import FormatError
from bcai.jobs.outcome import Outcome, Output, Reason, ReasonCode, Usage
from bcai.jobs.read_word import ballot_of, read_word
from bcai.jobs.states import Move
from bcai.proof.keys import key_id
from bcai.proof.python_receipt import Word, encode_word

REPORTED = Outcome(
    Move.SUCCEED,
    Reason(ReasonCode.SUCCEEDED, "exited"),
    outputs=(
        Output("weights", "array", digest="blake3:" + "0" * 64, size=64),
        Output("loss", "value", value=0.25),
    ),
    exit_status=0,
    usage=Usage(wall_s=1.5, cpu_s=1.25),
)
OTHERS_SIGNATURE = Word(word().commitment, word(NODES[1]).signature)


def signed(said: Word, outcome: Outcome = REPORTED) -> Outcome:
    return replace(outcome, word=b64encode(encode_word(said)).decode())


def ballot(outcome: Outcome) -> Any:
    node = ("node-1", "box")
    return ballot_of("job_1", SPEC, outcome, number=2, node=node, fingerprint=FINGERPRINT)


def test_an_answer_that_holds() -> None:
    found = ballot(signed(word()))
    assert found.answer == word().commitment.answer.hex()
    assert (found.key, found.number, found.cpu_s) == (key_id(NODES[0].public), 2, 1.25)
    assert [name for name, _ in found.outputs] == ["loss", "weights"]


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (REPORTED, "nothing is signed"),
        (replace(REPORTED, word="é"), "not base64"),
        (replace(REPORTED, word="AAAA"), "not a Python commitment"),
        (signed(OTHERS_SIGNATURE), "another key's"),
        (signed(word(job_id="job_2")), "of another job"),
        (signed(word(spec=bytes(32))), "of another job"),
        (signed(word(inputs=bytes(32))), "other code or inputs"),
        (signed(word(outputs=())), "not what is reported"),
        (signed(word(exit_status=1)), "not what is reported"),
        (signed(word(), replace(REPORTED, outputs=REPORTED.outputs[:1])), "not what is reported"),
    ],
)
def test_what_is_not_signed_is_no_answer(outcome: Outcome, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        read_word("job_1", SPEC, outcome)
    found = ballot(outcome)
    assert (found.answer, found.key) == ("", "")
    assert why in found.text


def test_another_machine_is_no_answer() -> None:
    said = word(fingerprint=(*FINGERPRINT[:2], ("threads", "4")))
    assert ballot(signed(said)).text == (
        "it ran on another machine than was asked: threads: 2 and 4"
    )


@pytest.mark.parametrize("code", [ReasonCode.NODE_LOST, ReasonCode.NO_JAIL, ReasonCode.HARDWARE])
def test_a_nodes_own_failure_is_no_answer(code: ReasonCode) -> None:
    found = ballot(signed(word(), replace(REPORTED, reason=Reason(code, "the node left"))))
    assert (found.answer, found.text) == ("", "the node left")
