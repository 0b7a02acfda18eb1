"""Questions and answers as bytes: one form each, and nothing that comes in breaks the referee."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.unit.proof.liars import WrongExecutable
from tests.unit.proof.small_run import training

from bcai.base.errors import FormatError, NotFoundError
from bcai.base.merkle import TreeHead
from bcai.proof.bisection import Answer, Case, Dispute, advance
from bcai.proof.message_codec import MAGIC, decode_reply, decode_request, encode_message
from bcai.proof.messages import (
    AskEvidence,
    AskLeaf,
    AskNodes,
    AskStep,
    AskSteps,
    Nodes,
    Opened,
    Reply,
    Request,
    Side,
    StepTop,
)
from bcai.proof.side import ReplayingSide
from bcai.proof.stages import begin_dispute
from bcai.vm.program import cbor

SMALL = training()
COUNT = len(SMALL.program.program.instructions)
HONEST = SMALL.trace()
MATRIX = max(
    p for p, each in enumerate(SMALL.program.program.instructions) if each.op.name == "MatMul"
)
WRONG = WrongExecutable(SMALL.program, 7, MATRIX)
LIE = SMALL.trace(WRONG)
SIDES = {
    Side.A: ReplayingSide(SMALL.program, SMALL.feeder(), WRONG, LIE, {0: SMALL.state}),
    Side.B: ReplayingSide(
        SMALL.program, SMALL.feeder(), SMALL.compiled(), HONEST, {0: SMALL.state}
    ),
}
CASE = Case(SMALL.run, SMALL.program, {Side.A: LIE.head, Side.B: HONEST.head})


def rounds() -> list[tuple[Dispute, Request, dict[Side, Reply]]]:
    """Every question of a whole dispute, with both answers."""
    found: list[tuple[Dispute, Request, dict[Side, Reply]]] = []
    dispute, asks = begin_dispute(CASE, clock_s=1.0, at=0.0)
    while asks:
        request = asks[0].request
        replies = {side: SIDES[side].answer(request) for side in Side}
        found.append((dispute, request, replies))
        for side in Side:
            dispute, asks = advance(dispute, Answer(side, replies[side]), 0.0)
    assert dispute.verdict is not None
    assert dispute.verdict.faulty == {Side.A}
    return found


ROUNDS = rounds()


EVIDENCE = [SIDES[Side.B].answer(AskEvidence(7, leaf)) for leaf in range(CASE.layout.size)]
"""What shows each kind of leaf. The side runs its step again for each."""


def test_what_is_said_in_a_dispute_comes_back_as_it_was() -> None:
    for _, request, replies in ROUNDS:
        assert decode_request(encode_message(request)) == request
        for reply in replies.values():
            assert decode_reply(encode_message(reply)) == reply
    for reply in EVIDENCE:
        assert decode_reply(encode_message(reply)) == reply


def test_the_bytes_stand() -> None:
    """Golden: other versions and other programs read these."""
    assert encode_message(AskNodes(None, 5, 0, 4)).hex() == (
        "626361692d6469737075746500" + "8601" + "00" + "f6050004"
    )
    assert encode_message(None).hex() == "626361692d6469737075746500" + "8201f6"
    top = StepTop(TreeHead(3, bytes(32)), Opened(b"x", (bytes(32),)))
    assert encode_message(top)[len(MAGIC) :].hex() == (
        "84010a" + "82035820" + "00" * 32 + "824178815820" + "00" * 32
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([2, 0, None, 1, 0, 1], "version: found 2, expected 1"),
        ([1, 99], "kind: found 99, expected one of 0, 1, 2"),
        ([1, 7], "kind: found 7"),
        ([1, 1], "AskCheckpoint: found 0 fields, expected 1"),
        ([1, 1, -1], r"AskCheckpoint.index: found -1, expected a whole number from 0"),
        ([1, 1, 1 << 63], "AskCheckpoint.index: found 9223372036854775808"),
        ([1, 1, True], "AskCheckpoint.index: found True"),
        ([1, 1, b"1"], "AskCheckpoint.index: found b'1'"),
        (7, "message: found int, expected an array"),
    ],
)
def test_a_question_of_another_form_is_refused_by_name(value: object, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        decode_request(MAGIC + cbor.encode(value))


def test_bytes_that_are_no_message_are_refused() -> None:
    data = encode_message(ROUNDS[0][1])
    for other in (b"", data[1:], data + b"\x00", data[:-1]):
        with pytest.raises(FormatError):
            decode_request(other)
    with pytest.raises(FormatError, match=r"at most 1\.0 KiB"):
        decode_request(MAGIC + bytes(1 << 11))
    with pytest.raises(FormatError):
        decode_reply(data)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_canonical(data: bytes) -> None:
    for decode in (decode_request, decode_reply):
        try:
            message: Any = decode(MAGIC + data)
        except FormatError:
            continue
        assert encode_message(message) == MAGIC + data


ATOMS: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.integers(0, 300), st.integers(0, (1 << 63) - 1),
    st.binary(max_size=40), st.binary(min_size=32, max_size=32), st.text(max_size=8),
    st.just([]), st.lists(st.binary(max_size=33), max_size=3),
)  # fmt: skip


def changed(data: st.DataObject, value: Any) -> Any:
    """A plain value with one thing in it replaced, dropped, doubled or swapped."""
    if isinstance(value, list) and value and data.draw(st.integers(0, 4)):
        items: list[Any] = list(value)  # pyright: ignore[reportUnknownArgumentType]
        place = data.draw(st.integers(0, len(items) - 1))
        match data.draw(st.sampled_from(("within", "within", "within", "drop", "double"))):
            case "drop":
                del items[place]
            case "double":
                items.insert(place, items[place])
            case _:
                items[place] = changed(data, items[place])
        return items
    if isinstance(value, bytes) and value and data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(value) - 1))
        return value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :]
    return data.draw(ATOMS)


def decoded(plain: Any) -> Reply:
    """What a referee takes it for."""
    try:
        return decode_reply(MAGIC + cbor.encode(plain))
    except (FormatError, TypeError):
        return None


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_whatever_a_side_sends_the_referee_goes_on_and_frames_nobody(data: st.DataObject) -> None:
    """The liar's answers are changed at will; the honest side's are its own."""
    dispute, _, replies = data.draw(st.sampled_from(ROUNDS))
    others = [each for _, _, pair in ROUNDS for each in pair.values()]
    start = data.draw(st.one_of(*map(st.sampled_from, ([replies[Side.A]], others, EVIDENCE))))
    plain = cbor.decode(encode_message(start)[len(MAGIC) :])
    for _ in range(data.draw(st.integers(0, 3))):
        plain = changed(data, plain)
    reply = decoded(plain)
    assume(dispute.verdict is None)
    dispute, _ = advance(dispute, Answer(Side.A, reply), 0.0)
    dispute, asks = advance(dispute, Answer(Side.B, replies[Side.B]), 0.0)
    if dispute.verdict is not None:
        assert Side.B not in dispute.verdict.faulty
    else:
        assert asks


@given(st.data())
@settings(max_examples=25, deadline=None)  # many questions make the side do the run again
def test_whatever_a_referee_asks_a_side_answers_or_says_no(data: st.DataObject) -> None:
    _, request, _ = data.draw(st.sampled_from(ROUNDS))
    plain = changed(data, cbor.decode(encode_message(request)[len(MAGIC) :]))
    try:
        asked = decode_request(MAGIC + cbor.encode(plain))
    except (FormatError, TypeError):
        return
    try:
        SIDES[Side.B].answer(asked)
    except (NotFoundError, LookupError):
        return


def test_hashes_of_another_length_do_not_pass() -> None:
    dispute, _, replies = ROUNDS[0]
    reply = replies[Side.A]
    assert isinstance(reply, Nodes)
    hashes: Sequence[bytes] = (reply.hashes[0] + b"\x00", *reply.hashes[1:])
    dispute, _ = advance(dispute, Answer(Side.A, Nodes(tuple(hashes))), 0.0)
    dispute, _ = advance(dispute, Answer(Side.B, replies[Side.B]), 0.0)
    assert dispute.verdict is not None
    assert dispute.verdict.faulty == {Side.A}


@pytest.mark.parametrize("step", [SMALL.run.steps, 10**15])
def test_a_step_beyond_the_end_is_not_computed(step: int) -> None:
    for asked in (AskStep(step), AskLeaf(step, 0), AskEvidence(step, 9), AskSteps(step)):
        with pytest.raises(NotFoundError):
            SIDES[Side.B].answer(asked)
