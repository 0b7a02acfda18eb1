from dataclasses import replace

import pytest

from bcai.bridge.sandbox.jail import Cause, JailExit
from bcai.bridge.sandbox.level import JailReport
from bcai.cluster.node.outcome import ENDINGS, cancelled_late, ending_of, outcome_of
from bcai.jobs.outcome import RETRIED, Output, ReasonCode
from bcai.jobs.states import Move

JAIL = JailReport("B")


def test_every_cause_has_an_ending() -> None:
    assert set(ENDINGS) == set(Cause) - {Cause.EXITED}


@pytest.mark.parametrize("cause", Cause)
def test_only_the_nodes_own_faults_are_retried(cause: Cause) -> None:
    code, move = ending_of(JailExit(cause, "ended", JAIL, exit_status=1))
    assert (move is Move.RETRY) == (code in RETRIED) == (cause is Cause.JAIL_ERROR)


@pytest.mark.parametrize(
    ("status", "code", "move"),
    [
        (0, ReasonCode.SUCCEEDED, Move.SUCCEED),
        (1, ReasonCode.EXIT_STATUS, Move.FAIL),
    ],
)
def test_an_exit_status_decides(status: int, code: ReasonCode, move: Move) -> None:
    assert ending_of(JailExit(Cause.EXITED, "ended", JAIL, exit_status=status)) == (code, move)


def test_running_out_of_time_and_being_cancelled_are_no_failures() -> None:
    assert ending_of(JailExit(Cause.WALL_TIME, "", JAIL))[1] is Move.TIME_OUT
    assert ending_of(JailExit(Cause.CANCELLED, "", JAIL))[1] is Move.CANCEL


def test_what_the_jail_says_reaches_the_outcome() -> None:
    ended = JailExit(
        Cause.EXCEPTION,
        "ZeroDivisionError on line 2",
        JAIL,
        hint="divide by something else",
        exit_status=1,
        user_line=2,
        warnings=("slow",),
        wall_s=1.0,
        cpu_s=2.0,
        memory_bytes_peak=3,
        log_bytes=4,
    )
    output = Output("a", "value", 1)
    outcome = outcome_of(ended, [output], warnings=["capped"])
    assert outcome.reason.message == ended.message
    assert outcome.reason.hint == ended.hint
    assert outcome.warnings == ("capped", "slow")
    assert (outcome.exit_status, outcome.user_line, outcome.jail) == (1, 2, JAIL)
    assert outcome.outputs == (output,)
    assert (outcome.usage.wall_s, outcome.usage.memory_bytes_peak) == (1.0, 3)


def test_who_cancels_during_the_upload_gets_no_outputs_and_is_told_when() -> None:
    ended = outcome_of(JailExit(Cause.EXITED, "done", JAIL, exit_status=0, wall_s=3.0), ())
    late = cancelled_late(replace(ended, outputs=(Output("loss", "value", 1.0),), receipt="r"))
    assert (late.move, late.reason.code, late.outputs) == (Move.CANCEL, ReasonCode.CANCELLED, ())
    assert (late.receipt, late.usage.wall_s) == (None, 3.0)
    assert "while its outputs were uploaded" in late.reason.message
    early = outcome_of(JailExit(Cause.CANCELLED, "cancelled", JAIL), ())
    assert cancelled_late(early) is early
