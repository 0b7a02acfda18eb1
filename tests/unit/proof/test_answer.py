"""What cannot be said now is not said as nothing: who says nothing has lost."""

import pytest

from bcai.base.errors import BcaiError, DependencyError, FormatError, NotFoundError, ResourceError
from bcai.proof.answer import NOTHING, answer_bytes
from bcai.proof.message_codec import decode_reply, encode_message
from bcai.proof.messages import AskStep, Nodes, Reply, Request

QUESTION = encode_message(AskStep(3))


class Failing:
    def __init__(self, failure: Exception | None) -> None:
        self._failure = failure

    def answer(self, request: Request) -> Reply:
        assert request == AskStep(3)
        if self._failure is not None:
            raise self._failure
        return Nodes((bytes(32),))


def test_a_side_answers_in_canonical_bytes() -> None:
    assert decode_reply(answer_bytes(Failing(None), QUESTION)) == Nodes((bytes(32),))


@pytest.mark.parametrize(
    "failure", [NotFoundError("no such step"), FormatError("torn"), KeyError("tensor")]
)
def test_what_a_side_cannot_say_is_said_as_nothing(failure: Exception) -> None:
    assert answer_bytes(Failing(failure), QUESTION) == NOTHING
    assert answer_bytes(Failing(None), b"no question") == NOTHING
    assert answer_bytes(None, QUESTION) == NOTHING


@pytest.mark.parametrize("failure", [ResourceError("too little memory"), DependencyError("disk")])
def test_what_may_pass_is_raised(failure: BcaiError) -> None:
    with pytest.raises(type(failure)):
        answer_bytes(Failing(failure), QUESTION)
