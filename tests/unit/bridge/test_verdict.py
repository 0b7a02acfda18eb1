import signal

import pytest

from bcai.bridge.sandbox.jail import Cause, JailLimits
from bcai.bridge.sandbox.messages import Ended
from bcai.bridge.sandbox.supervisor import Facts
from bcai.bridge.sandbox.verdict import judge

LIMITS = JailLimits(
    wall_s=90, memory_bytes=1 << 30, log_bytes=1 << 20, output_bytes=10, disk_bytes=1 << 20,
    processes=16,
)  # fmt: skip


def cause_of(facts: Facts, *, killed: bool = False) -> tuple[Cause, str]:
    verdict = judge(facts, LIMITS, killed_for_memory=killed)
    assert "\n" not in verdict.message
    return verdict.cause, verdict.message


def claim(cause: Cause, message: str = "it broke") -> Ended:
    return Ended(cause, message, "", 3)


def test_a_claim_cannot_turn_a_failure_into_a_success() -> None:
    for status in (-11, 3):
        facts = Facts(status=status, claim=claim(Cause.EXITED))
        cause, _ = cause_of(facts)
        assert cause is (Cause.SIGNAL if status < 0 else Cause.EXITED)
        assert judge(facts, LIMITS, killed_for_memory=False).message != "exited with status 0"


def test_our_own_stops_come_first() -> None:
    facts = Facts(stopped=Cause.WALL_TIME, status=0, claim=claim(Cause.EXITED))
    assert cause_of(facts) == (
        Cause.WALL_TIME,
        "the script ran longer than its limit of 1m 30s",
    )
    assert cause_of(Facts(stopped=Cause.CANCELLED))[0] is Cause.CANCELLED
    assert "1.0 MiB" in cause_of(Facts(stopped=Cause.LOG_BYTES, stop_detail="output"))[1]


@pytest.mark.parametrize(
    "facts",
    [
        Facts(over="memory"),
        Facts(status=1, claim=claim(Cause.MEMORY)),
        Facts(status=-signal.SIGABRT, stderr_tail="what(): std::bad_alloc\n"),
        Facts(status=-signal.SIGSEGV, memory_bytes_peak=1 << 30),
    ],
)
def test_memory_by_any_road(facts: Facts) -> None:
    cause, message = cause_of(facts)
    assert cause is Cause.MEMORY
    assert "1.0 GiB" in message


def test_a_full_cgroup_is_memory_unless_the_job_went_on() -> None:
    assert cause_of(Facts(status=None), killed=True)[0] is Cause.MEMORY
    assert cause_of(Facts(status=0, claim=claim(Cause.EXITED)), killed=True)[0] is Cause.EXITED


def test_signals_are_named() -> None:
    assert cause_of(Facts(status=-11)) == (Cause.SIGNAL, "killed by SIGSEGV (Segmentation fault)")
    assert cause_of(Facts(status=-9))[0] is Cause.SIGNAL


def test_statuses_are_told() -> None:
    assert cause_of(Facts(status=3)) == (Cause.EXITED, "exited with status 3")
    ended = claim(Cause.EXITED, "exited with status 1: no data\x1b[2J")
    assert cause_of(Facts(status=1, claim=ended))[1] == "exited with status 1: no data\\x1b[2J"


def test_limits_name_their_number() -> None:
    assert "limit of 16" in cause_of(Facts(status=1, claim=claim(Cause.PROCESSES)))[1]
    assert "1.0 MiB" in cause_of(Facts(status=1, claim=claim(Cause.DISK_BYTES)))[1]


def test_a_jail_that_fell_over_is_not_the_users_fault() -> None:
    assert cause_of(Facts(failed_wall="seccomp: refused"))[0] is Cause.JAIL_ERROR
    assert cause_of(Facts())[0] is Cause.JAIL_ERROR
