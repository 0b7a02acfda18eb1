"""From the facts of a run to the one line that its owner reads. Pure.

What we did or saw counts before what the job claims: first our own stops, then the kernel's
account, then the script's. A claim can only explain an ending that really happened.
"""

import signal

from bcai.base.units import format_duration_s, format_size
from bcai.bridge.sandbox.jail import Cause, JailLimits
from bcai.bridge.sandbox.supervisor import REPORT_BYTES_MAX, Facts
from bcai.bridge.sandbox.text import one_line

_NO_MEMORY_TEXTS = ("bad_alloc", "Cannot allocate memory", "can't allocate memory", "MemoryError")
_MEMORY_SIGNALS = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGKILL)
_ALMOST_ALL = 0.95  # of the memory limit


class Verdict:
    """Cause, message, hint and line of a `JailExit`."""

    __slots__ = ("cause", "hint", "line", "message")

    def __init__(self, cause: Cause, message: str, hint: str = "", line: int | None = None) -> None:
        self.cause = cause
        self.message = message
        self.hint = hint
        self.line = line


def judge(facts: Facts, limits: JailLimits, *, killed_for_memory: bool) -> Verdict:
    """Say how the run ended, without looking at its outputs.

    Parameters
    ----------
    killed_for_memory
        The kernel killed a process of the job because its cgroup was full.
    """
    if facts.stopped is not None:
        return _stopped(facts, limits)
    if facts.failed_wall:
        return Verdict(Cause.JAIL_ERROR, f"the jail could not be built: {facts.failed_wall}")
    claim = facts.claim
    if facts.is_over_memory or (killed_for_memory and facts.status != 0):
        return _memory(limits)
    if facts.status is None:
        return Verdict(Cause.JAIL_ERROR, "the jail ended without saying how")
    if facts.status < 0:
        return _signal(facts, limits)
    if facts.too_large:
        hint = "keep less, or ask for a higher limit of output_bytes"
        return Verdict(Cause.OUTPUT_BYTES, facts.too_large, hint)
    if facts.status and claim is not None and claim.cause is not Cause.EXITED:
        return _claimed(facts, limits)
    message = one_line(claim.message) if claim is not None and facts.status else ""
    return Verdict(Cause.EXITED, message or f"exited with status {facts.status}")


def _stopped(facts: Facts, limits: JailLimits) -> Verdict:
    if facts.stopped is Cause.WALL_TIME:
        limit = format_duration_s(limits.wall_s)
        return Verdict(
            Cause.WALL_TIME,
            f"the script ran longer than its limit of {limit}",
            "ask for a longer timeout, or do less work",
        )
    if facts.stopped is Cause.LOG_BYTES:
        limit = REPORT_BYTES_MAX if facts.stop_detail == "metrics" else limits.log_bytes
        return Verdict(
            Cause.LOG_BYTES,
            f"the script wrote more {facts.stop_detail} than its limit of {format_size(limit)}",
            "print less, or ask for a higher limit of log_bytes",
        )
    if facts.stopped is Cause.CANCELLED:
        return Verdict(Cause.CANCELLED, "cancelled while it ran")
    if facts.stopped is Cause.JAIL_ERROR:
        return Verdict(Cause.JAIL_ERROR, f"the jail could not be built: {facts.stop_detail}")
    return Verdict(Cause.OUTPUT_INVALID, facts.stop_detail)


def _memory(limits: JailLimits, place: str = "", line: int | None = None) -> Verdict:
    limit = format_size(limits.memory_bytes)
    return Verdict(
        Cause.MEMORY,
        f"the script needed more memory than its limit of {limit}{place}",
        "use smaller batches or data, or ask for a higher limit of memory_bytes",
        line,
    )


def _signal(facts: Facts, limits: JailLimits) -> Verdict:
    number = -(facts.status or 0)
    ran_out = facts.memory_bytes_peak >= _ALMOST_ALL * limits.memory_bytes
    said_so = any(text in facts.stderr_tail for text in _NO_MEMORY_TEXTS)
    if number in _MEMORY_SIGNALS and (ran_out or said_so):
        return _memory(limits)
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    meaning = signal.strsignal(number)
    return Verdict(Cause.SIGNAL, f"killed by {name}" + (f" ({meaning})" if meaning else ""))


def _claimed(facts: Facts, limits: JailLimits) -> Verdict:
    claim = facts.claim
    if claim is None:
        raise AssertionError("judge() checks that there is a claim")
    message = one_line(claim.message)
    if claim.cause is Cause.MEMORY:
        return _memory(limits, f": {message}", claim.line)
    if claim.cause is Cause.DISK_BYTES:
        limit = format_size(limits.disk_bytes)
        return Verdict(
            Cause.DISK_BYTES,
            f"the script wrote more files than its limit of {limit}: {message}",
            "write less, or ask for a higher limit of disk_bytes",
            claim.line,
        )
    if claim.cause is Cause.PROCESSES:
        return Verdict(
            Cause.PROCESSES,
            f"the script started more processes or threads than its limit of {limits.processes}: "
            f"{message}",
            "start fewer, or ask for a higher limit of processes",
            claim.line,
        )
    return Verdict(claim.cause, message, one_line(claim.hint), claim.line)
