"""Reasons: whose fault it was decides what is tried again."""

from bcai.jobs.outcome import RETRIED, ReasonCode


def test_every_reason_is_a_dotted_word() -> None:
    assert all(code.replace("_", "").replace(".", "").isalpha() for code in ReasonCode)
    assert all(code.count(".") == 1 for code in ReasonCode)


def test_only_the_networks_faults_are_retried() -> None:
    assert {code.split(".")[0] for code in RETRIED} == {"node"}


def test_every_fault_of_a_node_is_retried() -> None:
    assert {code for code in ReasonCode if code.startswith("node.")} == RETRIED
