"""How the end of a jail becomes the end of an attempt."""

from collections.abc import Sequence
from dataclasses import replace

from bcai.bridge.sandbox.jail import Cause, JailExit
from bcai.jobs.outcome import Outcome, Output, Reason, ReasonCode, Usage
from bcai.jobs.states import Move

ENDINGS: dict[Cause, tuple[ReasonCode, Move]] = {
    # Cause.EXITED is in neither: its exit status decides.
    Cause.EXCEPTION: (ReasonCode.EXCEPTION, Move.FAIL),
    Cause.SYNTAX_ERROR: (ReasonCode.SYNTAX_ERROR, Move.FAIL),
    Cause.MISSING_IMPORT: (ReasonCode.MISSING_IMPORT, Move.FAIL),
    Cause.SIGNAL: (ReasonCode.SIGNAL, Move.FAIL),
    Cause.WALL_TIME: (ReasonCode.LIMIT_WALL_TIME, Move.TIME_OUT),
    Cause.MEMORY: (ReasonCode.LIMIT_MEMORY, Move.FAIL),
    Cause.LOG_BYTES: (ReasonCode.LIMIT_LOG, Move.FAIL),
    Cause.OUTPUT_BYTES: (ReasonCode.LIMIT_OUTPUT, Move.FAIL),
    Cause.DISK_BYTES: (ReasonCode.LIMIT_DISK, Move.FAIL),
    Cause.PROCESSES: (ReasonCode.LIMIT_PROCESSES, Move.FAIL),
    Cause.CPU_TIME: (ReasonCode.LIMIT_CPU, Move.FAIL),
    Cause.FILE_BYTES: (ReasonCode.LIMIT_FILE, Move.FAIL),
    Cause.INODES: (ReasonCode.LIMIT_INODES, Move.FAIL),
    Cause.OUTPUT_MISSING: (ReasonCode.OUTPUT_MISSING, Move.FAIL),
    Cause.OUTPUT_INVALID: (ReasonCode.OUTPUT_INVALID, Move.FAIL),
    Cause.TRAP: (ReasonCode.TRAP, Move.FAIL),
    Cause.FUEL: (ReasonCode.LIMIT_FUEL, Move.FAIL),
    Cause.MODULE_INVALID: (ReasonCode.INVALID_MODULE, Move.FAIL),
    Cause.IMPORT_REFUSED: (ReasonCode.MODULE_IMPORT, Move.FAIL),
    Cause.EXPORT_MISSING: (ReasonCode.MISSING_EXPORT, Move.FAIL),
    Cause.CANCELLED: (ReasonCode.CANCELLED, Move.CANCEL),
    Cause.JAIL_ERROR: (ReasonCode.NODE_ERROR, Move.RETRY),
}


def ending_of(ended: JailExit) -> tuple[ReasonCode, Move]:
    """Why the attempt ended, and what that does to the job."""
    if ended.cause is not Cause.EXITED:
        return ENDINGS[ended.cause]
    if ended.exit_status in (0, None):
        return ReasonCode.SUCCEEDED, Move.SUCCEED
    return ReasonCode.EXIT_STATUS, Move.FAIL


def outcome_of(
    ended: JailExit, outputs: Sequence[Output], *, warnings: Sequence[str] = ()
) -> Outcome:
    """Say how a jail ended, in the words of the network."""
    code, move = ending_of(ended)
    return Outcome(
        move=move,
        reason=Reason(code, ended.message, ended.hint),
        outputs=tuple(outputs),
        warnings=(*warnings, *ended.warnings),
        exit_status=ended.exit_status,
        usage=Usage(
            wall_s=ended.wall_s,
            cpu_s=ended.cpu_s,
            memory_bytes_peak=ended.memory_bytes_peak,
            log_bytes=ended.log_bytes,
            fuel=ended.fuel,
            disk_bytes_peak=ended.disk_bytes_peak,
            inodes_peak=ended.inodes_peak,
            processes_peak=ended.processes_peak,
            output_bytes=ended.output_bytes,
        ),
        jail=ended.jail,
        user_line=ended.user_line,
    )


def too_large(outcome: Outcome, reason: Reason) -> Outcome:
    """Fail an attempt that went well but leaves more than can travel; its outputs stay behind."""
    if outcome.move is not Move.SUCCEED:
        return replace(outcome, outputs=())
    return replace(outcome, move=Move.FAIL, reason=reason, outputs=())


def refused(reason: Reason) -> Outcome:
    """End an attempt that this node may not run: the job's requirements or a policy say no."""
    return Outcome(Move.FAIL, reason)


def failed_here(code: ReasonCode, message: str, hint: str = "") -> Outcome:
    """End an attempt through the node's own fault: another try may go well."""
    return Outcome(Move.RETRY, Reason(code, message, hint))


def cancelled_early() -> Outcome:
    """End an attempt that was cancelled before its jail was up."""
    return Outcome(Move.CANCEL, Reason(ReasonCode.CANCELLED, "cancelled before it started"))


def cancelled_late(outcome: Outcome) -> Outcome:
    """End an attempt that was cancelled while its outputs were uploaded; they stay behind."""
    if outcome.move is Move.CANCEL:
        return outcome
    reason = Reason(ReasonCode.CANCELLED, "cancelled while its outputs were uploaded")
    return replace(outcome, move=Move.CANCEL, reason=reason, outputs=(), receipt=None)
