"""A result is settled or disputed once; a lot that nobody can foresee decides who is audited."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcai import InputError
from bcai.base.errors import ConflictError
from bcai.jobs.dispute import Party, Ruling
from bcai.jobs.settlement import (
    APPEAL_S,
    VOUCHERS_MAX,
    Audited,
    Lie,
    Settlement,
    SettlementState,
    Voucher,
    commit,
    is_drawn,
    may_be_disputed,
    rule,
    step,
)
from bcai.jobs.spec import FileRef, JobKind, JobSpec
from bcai.jobs.verify import NO_CHECK, Policy, Verify, parse_verify

RECEIPT = "blake3:" + "0" * 64
FULL = Verify(Policy.FULL, 1.0)
LIE = Lie("replay.differs", "state of checkpoint 1 differs", 1, (4, 8))
MESSAGES = st.builds(
    Audited,
    at=st.floats(0, 1e9),
    by=st.sampled_from(["ann", "bob"]),
    lie=st.sampled_from([None, LIE, Lie("receipt.format", "no receipt")]),
)
RULING = Ruling((Party.NODE,), "result", "instruction 3 lies", "carl", 9.0, 1, 7)


def vouching(by: str, key: str = "") -> Audited:
    return Audited(2.0, by, remark="done again", voucher=Voucher(by, key or by, 2.0, "signed"))


def committed(verify: Verify = FULL, receipt: str | None = RECEIPT) -> Settlement:
    return commit(
        verify, job_id="job_1", receipt=receipt, salt="00", node_id="n", node_name="box", at=1.0
    )


@pytest.mark.parametrize(
    "text",
    ["none", "full", "audited:0.1", "audited:0.0", "audited:1.0", "replicated:2", "replicated:16"],
)
def test_a_policy_reads_as_it_is_written(text: str) -> None:
    assert str(parse_verify(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "audited", "audited:", "audited:2", "audited:-0.1", "audited:nan", "full:1", "all"),
        *("replicated", "replicated:", "replicated:1", "replicated:17", "replicated:2.0"),
        *("replicated:-3", "replicated:99999999999999999999", "replicated:\N{SUPERSCRIPT TWO}"),
    ],
)
def test_what_is_no_policy_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(InputError, match=r"verify: found .*expected 'none', 'full', 'audited"):
        parse_verify(text)


def test_only_jobs_with_defined_bits_can_be_checked() -> None:
    with pytest.raises(InputError, match="kind 'python' cannot be checked"):
        JobSpec("job", code="x = 1", verify=FULL)
    file = FileRef("step.bcai", RECEIPT, 3)
    assert JobSpec("job", entry="step.bcai", files=(file,), kind=JobKind.PROGRAM, verify=FULL)
    assert JobSpec("job", code="x = 1", verify=FULL, capture=True)
    replicated = Verify(Policy.REPLICATED, replicas=3)
    assert JobSpec("job", code="x = 1", verify=replicated).verify.extra_computing == 2
    with pytest.raises(InputError, match="kind 'program' cannot be replicated"):
        JobSpec("job", entry="step.bcai", files=(file,), kind=JobKind.PROGRAM, verify=replicated)
    assert JobSpec("job", code="x = 1").verify == NO_CHECK


def test_an_audit_ends_in_settled_or_disputed_and_names_the_node() -> None:
    assert committed().state is SettlementState.COMMITTED
    assert step(committed(), Audited(2.0, "ann")).state is SettlementState.SETTLED
    disputed = step(committed(), Audited(2.0, "ann", LIE))
    assert (disputed.state, disputed.lie, disputed.by) == (SettlementState.DISPUTED, LIE, "ann")
    assert disputed.text == "box (n) did not tell the truth: state of checkpoint 1 differs"


def test_several_may_vouch_for_a_result_each_key_once() -> None:
    once = step(committed(), vouching("ann"))
    assert (once.state, once.by, [each.by for each in once.vouchers]) == (
        SettlementState.SETTLED, "ann", ["ann"],
    )  # fmt: skip
    assert step(once, vouching("ann")) == once
    twice = step(once, vouching("bob"))
    assert (twice.by, [each.by for each in twice.vouchers]) == ("ann", ["ann", "bob"])
    assert step(twice, vouching("bob again", key="bob")) == twice
    many = twice
    for number in range(2 * VOUCHERS_MAX):
        many = step(many, vouching(f"key {number}"))
    assert len(many.vouchers) == VOUCHERS_MAX
    lot = step(committed(Verify(Policy.AUDITED, 0.0)), vouching("ann"))
    assert (lot.state, lot.by, lot.text) == (SettlementState.SETTLED, "ann", "done again")


def test_who_vouched_for_a_lie_is_named_beside_the_node() -> None:
    settled = step(step(committed(), vouching("ann")), vouching("bob"))
    found = rule(settled, RULING)
    assert (found.state, found.by, found.dispute) == (SettlementState.DISPUTED, "carl", RULING)
    assert found.text.startswith("box (n) did not tell the truth: step 7: instruction 3 lies")
    assert found.text.endswith("; vouched for by ann, bob")
    assert found.vouchers == settled.vouchers
    with pytest.raises(ConflictError):
        step(found, vouching("dora"))
    assert rule(found, RULING) == found
    with pytest.raises(ConflictError):
        rule(found, replace(RULING, challenger="dora"))


def test_a_challenger_that_loses_changes_nothing_that_is_settled() -> None:
    settled = step(committed(), vouching("ann"))
    lost = replace(RULING, faulty=(Party.CHALLENGER,))
    assert rule(settled, lost) == replace(settled, dispute=lost)


def test_where_nobody_is_blamed_a_ruling_still_names_who_lied() -> None:
    nobodys = step(committed(), Audited(2.0, "ann", remark="nobody can be blamed", agrees=False))
    found = (nobodys.state, nobodys.lie, nobodys.text)
    assert found == (SettlementState.DISPUTED, None, "nobody can be blamed")
    with pytest.raises(ConflictError):
        step(nobodys, vouching("bob"))
    lost = replace(RULING, faulty=(Party.CHALLENGER,))
    assert rule(nobodys, lost) == replace(nobodys, dispute=lost)
    named = rule(nobodys, RULING)
    assert (named.state, named.by, named.dispute) == (SettlementState.DISPUTED, "carl", RULING)
    assert named.lie is not None


def test_a_settled_result_may_be_disputed_for_some_days() -> None:
    waiting, settled = committed(), step(committed(), vouching("ann"))
    assert may_be_disputed(waiting, 1.0 + 2 * APPEAL_S)
    assert may_be_disputed(settled, 1.0 + APPEAL_S)
    assert not may_be_disputed(settled, 2.0 + APPEAL_S)
    assert not may_be_disputed(rule(settled, RULING), 1.0)
    nobodys = step(waiting, Audited(2.0, "ann", remark="nobody can be blamed", agrees=False))
    assert may_be_disputed(nobodys, 1.0 + APPEAL_S)
    assert not may_be_disputed(nobodys, 2.0 + APPEAL_S)
    copies = replace(settled, verify=Verify(Policy.REPLICATED, replicas=3))
    assert not may_be_disputed(copies, 1.0)


def test_a_result_without_a_receipt_is_disputed_at_once() -> None:
    found = committed(Verify(Policy.AUDITED, 0.0), receipt=None)
    assert found.state is SettlementState.DISPUTED
    assert found.lie is not None
    assert found.lie.code == "receipt.missing"


@given(first=MESSAGES, second=MESSAGES)
def test_the_first_verdict_stands(first: Audited, second: Audited) -> None:
    once = step(committed(), first)
    assert step(once, first) == once
    if (first.by, first.lie) == (second.by, second.lie):
        assert step(once, second) == once
    else:
        with pytest.raises(ConflictError):
            step(once, second)


@given(salt=st.text("0123456789abcdef"), job=st.text(), rate=st.floats(0, 1))
def test_a_lot_depends_on_the_rate_as_it_should(salt: str, job: str, rate: float) -> None:
    assert is_drawn(job, RECEIPT, salt, 1.0)
    assert not is_drawn(job, RECEIPT, salt, 0.0)
    if is_drawn(job, RECEIPT, salt, rate):
        assert is_drawn(job, RECEIPT, salt, min(1.0, rate * 2))


def test_of_many_jobs_the_share_is_drawn_and_the_salt_decides_which() -> None:
    drawn = [{i for i in range(2000) if is_drawn(f"job_{i}", RECEIPT, salt, 0.1)} for salt in "ab"]
    assert all(140 < len(each) < 260 for each in drawn)
    assert drawn[0] != drawn[1]


def test_who_is_not_drawn_is_settled_at_once() -> None:
    found = committed(Verify(Policy.AUDITED, 0.0))
    assert (found.state, found.by, found.text) == (
        SettlementState.SETTLED,
        "",
        "not drawn for an audit",
    )
