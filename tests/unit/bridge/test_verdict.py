import signal
from dataclasses import replace

import pytest

from bcai.bridge.sandbox.jail import Cause, JailLimits
from bcai.bridge.sandbox.messages import Ended
from bcai.bridge.sandbox.supervisor import Facts
from bcai.bridge.sandbox.verdict import judge, limit_warnings

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
    asked = replace(LIMITS, memory_bytes=200_000_000)  # --memory 200MB
    by_memory = judge(Facts(status=1, claim=claim(Cause.MEMORY)), asked, killed_for_memory=False)
    assert "its limit of 200 MB" in by_memory.message


def test_a_jail_that_fell_over_is_not_the_users_fault() -> None:
    assert cause_of(Facts(failed_wall="seccomp: refused"))[0] is Cause.JAIL_ERROR
    assert cause_of(Facts())[0] is Cause.JAIL_ERROR


def test_a_node_out_of_memory_is_not_the_users_fault() -> None:
    facts = Facts(status=-9, is_machine_out_of_memory=True, memory_bytes_peak=1 << 20)
    cause, message = cause_of(facts)
    assert cause is Cause.JAIL_ERROR
    assert "1.0 MiB of its limit of 1.0 GiB" in message


@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        (Facts(over="cpu"), Cause.CPU_TIME),
        (Facts(status=-signal.SIGXCPU, cpu_s=5.0), Cause.CPU_TIME),
        (Facts(status=-signal.SIGKILL, cpu_s=5.0), Cause.CPU_TIME),
        (Facts(status=-signal.SIGKILL, cpu_s=4.9), Cause.SIGNAL),
        (Facts(status=-signal.SIGXFSZ), Cause.FILE_BYTES),
        (Facts(status=-signal.SIGBUS, ever_full=frozenset({"disk"})), Cause.DISK_BYTES),
        (Facts(status=-signal.SIGBUS), Cause.SIGNAL),
        (Facts(status=-signal.SIGABRT, stderr_tail="std::system_error"), Cause.PROCESSES),
        (Facts(status=1, full=frozenset({"file"})), Cause.FILE_BYTES),
        (Facts(status=1, stderr_tail="libgomp: Thread creation failed"), Cause.PROCESSES),
        (Facts(status=1, claim=claim(Cause.EXCEPTION), full=frozenset({"disk"})), Cause.DISK_BYTES),
        (Facts(status=1, claim=claim(Cause.EXCEPTION), processes_peak=16), Cause.EXCEPTION),
        (
            Facts(status=1, claim=claim(Cause.EXCEPTION), ever_full=frozenset({"disk"})),
            Cause.EXCEPTION,  # it was full once, and is not any more
        ),
        (
            Facts(status=1, claim=claim(Cause.DISK_BYTES), ever_full=frozenset({"inodes"})),
            Cause.INODES,
        ),
    ],
)
def test_the_limit_behind_an_ending(facts: Facts, cause: Cause) -> None:
    limits = replace(LIMITS, cpu_s=5.0, file_bytes=1 << 20)
    assert judge(facts, limits, killed_for_memory=False).cause is cause


def test_a_limit_that_was_met_is_a_warning_of_who_ended_well() -> None:
    met = Facts(status=0, ever_full=frozenset({"disk"}), processes_peak=16)
    texts = limit_warnings(met, LIMITS, killed_for_memory=True)
    assert [text.rpartition("(")[2] for text in texts] == [
        "limits.memory)", "limits.disk)", "limits.processes)"
    ]  # fmt: skip
    assert limit_warnings(Facts(status=0), LIMITS, killed_for_memory=False) == []
    assert limit_warnings(replace(met, status=1), LIMITS, killed_for_memory=True) == []
