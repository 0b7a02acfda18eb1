"""From the facts of a run to the one line that its owner reads. Pure.

What we did or saw counts before what the job claims: first our own stops, then the kernel's
account, then the script's. A claim can only explain an ending that really happened.

Note [A limit behind an ending]
    A script that meets a limit may catch the exception, lose it in a library, or die of a signal.
    So a failed run is asked for more than its last exception: what was full when it ended, what it
    printed last, how many processes it had. A script that met a limit and still ended well has
    done so on purpose: it succeeds, with a warning.
"""

import signal

from bcai.base.units import format_duration_s, format_limit, format_size
from bcai.bridge.sandbox.jail import Cause, JailLimits
from bcai.bridge.sandbox.supervisor import REPORT_BYTES_MAX, Facts
from bcai.bridge.sandbox.text import one_line

_NO_MEMORY_TEXTS = ("bad_alloc", "Cannot allocate memory", "can't allocate memory", "MemoryError")
_NO_THREAD_TEXTS = (
    "Thread creation failed",  # libgomp
    "pthread_create failed",  # OpenBLAS
    "can't start new thread",
    "std::system_error",
    "Resource temporarily unavailable",
)
_MEMORY_SIGNALS = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGKILL)
_OTHER_MACHINE = (
    "the jail ends a process that makes a system call under the number of another machine, such as "
    "i386 or x32; bring code for this one"
)
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
    if facts.over == "cpu":
        return _limit(Cause.CPU_TIME, limits)
    if facts.over or (killed_for_memory and facts.status != 0):
        return _limit(Cause.MEMORY, limits)
    if facts.status is None:
        return Verdict(Cause.JAIL_ERROR, "the jail ended without saying how")
    if facts.status < 0:
        return _signal(facts, limits)
    if facts.too_large:
        hint = "keep less, or ask for more with limits.output"
        return Verdict(Cause.OUTPUT_BYTES, facts.too_large, hint)
    return _failed(facts, limits) if facts.status else Verdict(Cause.EXITED, "exited with status 0")


def limit_warnings(facts: Facts, limits: JailLimits, *, killed_for_memory: bool) -> list[str]:
    """Limits that a script met although it ended well."""
    if facts.status != 0 or facts.stopped is not None:
        return []
    most = format_size(limits.disk_bytes)
    met = {
        "limits.memory": f"the kernel ended a process of the script for memory, of which it may "
        f"have {format_size(limits.memory_bytes)}" * killed_for_memory,
        "limits.disk": f"its files took all of {most}: a write may have failed"
        * ("disk" in facts.ever_full),
        "limits.file": f"one of its files has {format_size(limits.file_bytes or 0)}, all that it "
        "may have: the end of a write may be missing" * ("file" in facts.full),
        "limits.inodes": f"it made {limits.inodes} files and folders, all that it may have"
        * ("inodes" in facts.ever_full),
        "limits.processes": f"it had {limits.processes} processes and threads, all that it may have"
        * (facts.processes_peak >= limits.processes),
    }
    return [f"{text} ({name})" for name, text in met.items() if text]


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
            f"the script wrote more {facts.stop_detail} than its limit of {format_limit(limit)}",
            "log fewer metrics"
            if facts.stop_detail == "metrics"
            else "print less, or ask for more with limits.log",
        )
    if facts.stopped is Cause.MEMORY:
        return _limit(Cause.MEMORY, limits, " beside its training")
    if facts.stopped is Cause.CANCELLED:
        return Verdict(Cause.CANCELLED, "cancelled while it ran")
    if facts.stopped is Cause.JAIL_ERROR:
        return Verdict(Cause.JAIL_ERROR, f"the jail could not be built: {facts.stop_detail}")
    return Verdict(Cause.OUTPUT_INVALID, facts.stop_detail)


def _limit(cause: Cause, limits: JailLimits, place: str = "", line: int | None = None) -> Verdict:
    """Say which limit the script hit, with its number and what to do.

    Parameters
    ----------
    place
        What the script says about it, with a colon before it.
    """
    wrote, started = "the script wrote", "the script started"
    sentence, hint = {
        Cause.CPU_TIME: (
            f"the script used more time of the processors than its limit of "
            f"{format_duration_s(limits.cpu_s or limits.wall_s)}, all its processes together",
            "do less work, or ask for more with limits.cpu",
        ),
        Cause.MEMORY: (
            f"the script needed more memory than its limit of {format_limit(limits.memory_bytes)}",
            "use smaller batches or data, or ask for more with limits.memory",
        ),
        Cause.DISK_BYTES: (
            f"{wrote} more files than its limit of {format_limit(limits.disk_bytes)}",
            "write less, or ask for more with limits.disk",
        ),
        Cause.FILE_BYTES: (
            f"{wrote} a file larger than its limit of "
            f"{format_limit(limits.file_bytes or limits.disk_bytes)}",
            "write several smaller ones, or ask for more with limits.file",
        ),
        Cause.INODES: (
            f"the script made more files and folders than its limit of {limits.inodes}",
            "put more into each, or ask for more with limits.inodes",
        ),
        Cause.PROCESSES: (
            f"{started} more processes or threads than its limit of {limits.processes}",
            "start fewer, or ask for more with limits.processes",
        ),
    }[cause]
    return Verdict(cause, sentence + place, hint, line)


def _signal(facts: Facts, limits: JailLimits) -> Verdict:
    number = -(facts.status or 0)
    found = _limit_behind_signal(number, facts, limits)
    if found is not None:
        return _limit(found, limits)
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    meaning = signal.strsignal(number)
    message = f"killed by {name}" + (f" ({meaning})" if meaning else "")
    if facts.is_machine_out_of_memory and number == signal.SIGKILL:
        # Not the job's doing: other nodes may have what it asked for.
        used, limit = format_size(facts.memory_bytes_peak), format_size(limits.memory_bytes)
        message += (
            ": the node ran out of memory at that time; "
            f"the script used {used} of its limit of {limit}"
        )
        return Verdict(Cause.JAIL_ERROR, message)
    hint = _OTHER_MACHINE if number == signal.SIGSYS else ""
    return Verdict(Cause.SIGNAL, message, hint)


def _limit_behind_signal(number: int, facts: Facts, limits: JailLimits) -> Cause | None:
    """Find the limit for which the kernel, or a library that gave up, sent a signal."""
    used_its_time = limits.cpu_s is not None and facts.cpu_s >= limits.cpu_s
    if number in (signal.SIGXCPU, signal.SIGKILL) and used_its_time:
        return Cause.CPU_TIME
    if number == signal.SIGXFSZ and limits.file_bytes is not None:
        return Cause.FILE_BYTES
    if (
        number == signal.SIGBUS and "disk" in facts.ever_full
    ):  # a map of a file without room behind it
        return Cause.DISK_BYTES
    ran_out = facts.memory_bytes_peak >= _ALMOST_ALL * limits.memory_bytes
    if number in _MEMORY_SIGNALS and (ran_out or _said(facts, _NO_MEMORY_TEXTS)):
        return Cause.MEMORY
    if number == signal.SIGABRT and _said(facts, _NO_THREAD_TEXTS):
        return Cause.PROCESSES
    return None


def _failed(facts: Facts, limits: JailLimits) -> Verdict:
    """Say why a script ended with a status other than 0: Note [A limit behind an ending]."""
    claim = facts.claim
    claimed = Cause.EXITED if claim is None else claim.cause
    message, line = ("", None) if claim is None else (one_line(claim.message), claim.line)
    limit = (
        _refined(claimed, facts) if claimed in _LIMITS else _limit_behind(claimed, facts, limits)
    )
    if limit is not None:
        return _limit(limit, limits, f": {message}" if message else "", line)
    if claim is None or claimed is Cause.EXITED:
        return Verdict(Cause.EXITED, message or f"exited with status {facts.status}")
    return Verdict(claimed, message, one_line(claim.hint), line)


_LIMITS = (Cause.MEMORY, Cause.DISK_BYTES, Cause.FILE_BYTES, Cause.INODES, Cause.PROCESSES)


def _refined(claimed: Cause, facts: Facts) -> Cause:
    """No space is one error for bytes and for files; what we saw tells them apart."""
    if (
        claimed is Cause.DISK_BYTES
        and "inodes" in facts.ever_full
        and "disk" not in facts.ever_full
    ):
        return Cause.INODES
    return claimed


def _limit_behind(claimed: Cause, facts: Facts, limits: JailLimits) -> Cause | None:
    """Find the limit behind an exception of another kind, or behind a mere exit status."""
    if claimed not in (Cause.EXITED, Cause.EXCEPTION):
        return None
    for name, cause in _FULL:
        if name in facts.full:
            return cause
    if claimed is Cause.EXCEPTION:
        return None  # it says what it is about
    if _said(facts, _NO_MEMORY_TEXTS):
        return Cause.MEMORY
    if facts.processes_peak >= limits.processes or _said(facts, _NO_THREAD_TEXTS):
        return Cause.PROCESSES
    return None


_FULL = (
    ("file", Cause.FILE_BYTES),
    ("inodes", Cause.INODES),
    ("disk", Cause.DISK_BYTES),
)


def _said(facts: Facts, texts: tuple[str, ...]) -> bool:
    return any(text in facts.stderr_tail for text in texts)
