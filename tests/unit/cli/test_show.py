from dataclasses import replace

import pytest
from tests.unit.cli.sample_jobs import JAIL, SUCCESS, failure, job

from bcai.bridge.inspect.finding import Audit, Finding, Severity
from bcai.cli.jobs.show import print_job
from bcai.jobs.job import Attempt
from bcai.jobs.outcome import Reason, ReasonCode, Usage
from bcai.jobs.states import JobState

LOST = Reason(ReasonCode.NODE_LOST, "the node fell silent")
FULL = Reason(ReasonCode.NODE_ERROR, "the node's disk is full")


def attempt(number: int, reason: Reason) -> Attempt:
    return replace(job().attempts[0], number=number, reason=reason)


def test_what_stands_on_record_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    jail = replace(JAIL, start="warm", limits={"memory_bytes": 2.0**31, "cpu_s": 90.0, "inodes": 9})
    usage = Usage(wall_s=1.0, disk_bytes_peak=2048, inodes_peak=3, processes_peak=4, log_bytes=5)
    finding = Finding("pickle.load", Severity.WARNING, "a.py", 3, 1, "runs what is in the file")
    unseen = ("fast.so: machine code",)
    audit = Audit({"refused": 0, "warning": 2, "note": 1}, (finding,), unseen, files=1)
    ended = replace(SUCCESS, jail=jail, usage=usage, audit=audit)
    print_job(job(ended))
    shown = " ".join(capsys.readouterr().out.split())
    for text in (
        "reason job.succeeded", "started warm", "limits cpu 1m 30s, inodes 9, memory 2.0 GiB",
        "at most 2.0 KiB of files, 3 files and folders, 4 processes and threads, 5 B printed",
        "inspection 2 warnings, 1 note in 1 file",
        "a.py:3:1: warning: runs what is in the file",
        "and 2 more: see --json",
        "not seen: fast.so: machine code",
    ):  # fmt: skip
        assert text in shown
    assert shown.count("limits") == 1


def test_attempts_that_ended_alike_share_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    attempts = (attempt(1, LOST), attempt(2, LOST), attempt(3, LOST), attempt(4, FULL))
    view = job(failure("gave up")).model_copy(update={"attempts": attempts})
    print_job(view)
    shown = capsys.readouterr().out
    assert shown.count("the node fell silent") == 1
    assert "attempts 1 to 3" in shown
    assert "attempt 4" in shown
    assert "disk is full" in shown


def test_why_it_waits_and_what_would_help_are_two_sentences(
    capsys: pytest.CaptureFixture[str],
) -> None:
    why = Reason(ReasonCode.WAITING_CAPACITY, "vm has 1.0 GiB free", hint="ask for less")
    waiting = job().model_copy(update={"state": JobState.QUEUED, "attempts": [], "waiting": why})
    print_job(waiting)
    assert "vm has 1.0 GiB free; ask for less\n" in capsys.readouterr().out
