"""What most nodes say is the result; a further node decides where it can; nothing else is said."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai.base.errors import ConflictError
from bcai.jobs.ballot import Ballot
from bcai.jobs.outcome import Outcome, Reason, ReasonCode
from bcai.jobs.replication import (
    Next,
    agreement,
    begin,
    chosen,
    count,
    order_of,
    replica_id,
    told,
)
from bcai.jobs.settlement import Audited, Settlement, SettlementState, step
from bcai.jobs.states import Move
from bcai.jobs.verify import Policy, Verify

SUCCESS = Outcome(Move.SUCCEED, Reason(ReasonCode.SUCCEEDED, "done"))


def ballot(number: int, answer: str, *, key: str | None = None) -> Ballot:
    """A node that says `answer`; "" for none. Answers differ in the output `loss`."""
    outputs = (("epochs", "0"), ("loss", answer)) if answer else ()
    key = f"key-{number}" if key is None else key
    text = "exited" if answer else "the node left"
    return Ballot(
        number, f"n{number}", f"box-{number}", answer, text, outputs, key if answer else ""
    )


def group(answers: str, replicas: int | None = None) -> tuple[Settlement, Next]:
    """A group of one node for each letter, a dot for none."""
    replicas = replicas or len(answers)
    settlement, following = begin(Verify(Policy.REPLICATED, replicas=replicas), 1.0), Next.WAIT
    for number, letter in enumerate(answers, start=1):
        answer = "" if letter == "." else letter
        settlement, following = count(settlement, ballot(number, answer), 1.0 + number)
    return settlement, following


def test_all_say_the_same() -> None:
    found, following = group("aaa")
    assert (found.state, following) == (SettlementState.SETTLED, Next.END)
    assert found.text == "3 nodes agree: box-1, box-2, box-3"
    assert told(found, SUCCESS) == SUCCESS


def test_who_differs_is_named_with_what_differs() -> None:
    found, _ = group("baa")
    assert found.state is SettlementState.SETTLED
    assert found.text == "2 of 3 nodes agree: box-2, box-3; box-1 (n1) differs in 'loss'"
    assert (chosen(found), found.node_id) == (2, "n2")
    assert told(found, SUCCESS).warnings == (
        found.text,
        "the log and the metrics are those of box-1",
    )


@pytest.mark.parametrize(
    ("answers", "state", "text"),
    [
        ("aba", SettlementState.SETTLED, "2 of 3 nodes agree: box-1, box-3; box-2 (n2) differs in"),
        ("abc", SettlementState.DISPUTED, "box-1, box-2, box-3 do not agree on 'loss' (the same"),
        ("a.a", SettlementState.SETTLED, "box-2 (n2) gave no answer: the node left"),
        ("ab.", SettlementState.DISPUTED, "box-1, box-2 do not agree on 'loss'"),
    ],
)
def test_of_two_that_differ_a_further_node_decides(
    answers: str, state: SettlementState, text: str
) -> None:
    waiting, following = group(answers[:2], 2)
    assert (waiting.state, following, waiting.asked) == (SettlementState.COMMITTED, Next.ASK, 3)
    assert waiting.text.endswith("; one further node decides")
    found, following = group(answers, 2)
    assert (found.state, following) == (state, Next.END)
    assert text in found.text


def test_no_further_node_is_asked_where_it_could_not_decide() -> None:
    for answers in ("abc", "..", "...", "a..", "aabbc"):
        found, following = group(answers)
        assert (found.state, following) == (SettlementState.DISPUTED, Next.END), answers
    assert group("aabb")[1] is group("aabc")[1] is Next.ASK


def test_where_everyone_differs_the_seeds_are_told_of() -> None:
    alone = told(group("abc")[0], SUCCESS).warnings[0]
    assert "torch.manual_seed(0)" in alone
    assert "The outputs are those of box-1 alone" in alone
    assert "manual_seed" not in told(group("aabbc")[0], SUCCESS).warnings[0]


def test_one_key_is_one_node() -> None:
    settlement, _ = count(
        begin(Verify(Policy.REPLICATED, replicas=2), 1.0), ballot(1, "a", key="k"), 2.0
    )
    found, following = count(settlement, ballot(2, "a", key="k"), 3.0)
    assert following is Next.ASK
    assert "it signs with the key of box-1: they are one node" in found.text


def test_a_ballot_counts_once_and_no_audit_settles_it() -> None:
    once, _ = group("a", 3)
    assert count(once, ballot(1, "b"), 9.0) == (once, Next.WAIT)
    assert once.text == "1 of 3 nodes answered: box-1"
    with pytest.raises(ConflictError, match="by the nodes that do the job"):
        step(once, Audited(1.0, "ann"))


def test_a_replicas_id_leads_to_its_order() -> None:
    assert replica_id("job_1", 1) == "job_1"
    assert [order_of(replica_id("job_1", number)) for number in (1, 2, 16)] == ["job_1"] * 3


ANSWERS = st.text("abc.", min_size=2, max_size=7)


@given(ANSWERS.flatmap(lambda each: st.tuples(st.just(each), st.permutations(range(len(each))))))
def test_what_is_settled_is_what_more_than_half_say(drawn: tuple[str, list[int]]) -> None:
    answers, order = drawn
    found, following = group(answers)
    most, size = Counter(answers.replace(".", "") or ".").most_common(1)[0]
    has_majority = most != "." and size >= 2 and 2 * size > len(answers)
    assert (found.state is SettlementState.SETTLED) == has_majority
    assert {each.answer for each in agreement(found.replicas)} == (
        {most} if has_majority else set()
    )
    if has_majority:
        assert answers[chosen(found) - 1] == most
    if following is Next.ASK:
        agrees, _ = count(found, ballot(len(answers) + 1, most), 99.0)
        assert agrees.state is SettlementState.SETTLED, "it was asked because it can decide"
    shuffled = begin(found.verify, 1.0)
    for place in order:
        answer = answers[place].strip(".")
        shuffled, _ = count(shuffled, ballot(place + 1, answer), 1.0)
    assert (shuffled.state, shuffled.text) == (found.state, found.text)
