"""Every error that BCAI raises on purpose, as one tree. The class says what the caller does next.

* BcaiError
  - InputError            fix what you sent
    + FormatError         text or bytes do not parse
    + VerifyError         a program breaks a rule of the instruction set
    + StackUnderflowError, DivisionByZeroError   a stack program cannot go on
    + NotFoundError       no such job, blob, file or node
    + ConflictError       it exists already, or changed meanwhile
      . StaleError        the writer's lock token is not current any more
    + TooLargeError       over a stated limit
  - AuthError             send a valid key
    + ForbiddenError      the key is valid but may not do this
  - RefusedError          a policy says no; ask for less, or ask the owner
    + NoJailError         this machine cannot build the jail that the job needs
  - ResourceError         a limit or a device ran out; retry elsewhere
    + BusyError           the queue is full; retry later
    + StackLimitError     a stack program is larger than the machine
  - DependencyError       another service failed; retry with back-off
    + UnreachableError    nobody answers at that address
  - JobError              the job ended without success
    + JobFailedError
    + JobCancelledError
    + JobTimedOutError
"""

from typing import Any, ClassVar


class BcaiError(Exception):
    """Base of every deliberate error.

    Attributes
    ----------
    code
        Stable, dotted name; `docs/errors.md` has an entry for each.
    hint
        What the reader can do about it, or an empty string.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")  # so that a traceback shows it too


class InputError(BcaiError):
    """The caller sent something invalid and can fix it."""

    code = "input.invalid"


class FormatError(InputError):
    """Text or bytes do not parse."""

    code = "input.format"


class VerifyError(InputError):
    """A program breaks a rule of the instruction set."""

    code = "input.program"


class StackUnderflowError(InputError):
    """A stack instruction needs more values than the stack holds."""

    code = "input.stack_underflow"


class DivisionByZeroError(InputError):
    """A stack program divides by 0."""

    code = "input.division_by_zero"


class NotFoundError(InputError):
    """What was named does not exist."""

    code = "input.not_found"


class ConflictError(InputError):
    """It exists already with other content, or its state does not allow this."""

    code = "input.conflict"


class StaleError(ConflictError):
    """The writer's lock token is not the job's any more."""

    code = "input.stale"


class TooLargeError(InputError):
    """Over a stated limit."""

    code = "input.too_large"


class AuthError(BcaiError):
    """The API key is missing or unknown."""

    code = "auth.missing"


class ForbiddenError(AuthError):
    """The API key is known but may not do this."""

    code = "auth.forbidden"


class RefusedError(BcaiError):
    """A policy refuses the job; it did not start."""

    code = "policy.refused"


class NoJailError(RefusedError):
    """This machine cannot build the jail that the job needs."""

    code = "policy.no_jail"


class ResourceError(BcaiError):
    """A limit was reached or a device is out of something."""

    code = "resource.exhausted"


class BusyError(ResourceError):
    """A queue is full; the same request may succeed later."""

    code = "resource.busy"


class StackLimitError(ResourceError):
    """The stack, the memory or the length of a stack program is over its limit."""

    code = "resource.stack_limit"


class DependencyError(BcaiError):
    """Another service failed."""

    code = "dependency.failed"


class UnreachableError(DependencyError):
    """Nobody answers at that address."""

    code = "dependency.unreachable"


class JobError(BcaiError):
    """The job ended without success. In the SDK, `result` is the job's `Result`."""

    code = "job.ended"
    result: Any = None  # `Any`: this room cannot name a class of the SDK


class JobFailedError(JobError):
    """The job FAILED."""

    code = "job.failed"


class JobCancelledError(JobError):
    """The job was CANCELLED."""

    code = "job.cancelled"


class JobTimedOutError(JobError):
    """The job TIMED_OUT."""

    code = "job.timed_out"


EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_REFUSED, EXIT_UNAUTHORISED = range(5)

STATUS: dict[str, tuple[int, int]] = {
    # code: (HTTP status, exit status)
    "internal": (500, EXIT_FAILED),
    "input.invalid": (422, EXIT_USAGE),
    "input.format": (422, EXIT_USAGE),
    "input.program": (422, EXIT_USAGE),
    "input.stack_underflow": (422, EXIT_USAGE),
    "input.division_by_zero": (422, EXIT_USAGE),
    "input.not_found": (404, EXIT_USAGE),
    "input.conflict": (409, EXIT_FAILED),
    "input.stale": (409, EXIT_FAILED),
    "input.too_large": (413, EXIT_USAGE),
    "auth.missing": (401, EXIT_UNAUTHORISED),
    "auth.forbidden": (403, EXIT_UNAUTHORISED),
    "policy.refused": (403, EXIT_REFUSED),
    "policy.no_jail": (403, EXIT_REFUSED),
    "resource.exhausted": (507, EXIT_FAILED),
    "resource.stack_limit": (507, EXIT_FAILED),
    "resource.busy": (503, EXIT_FAILED),
    "dependency.failed": (502, EXIT_FAILED),
    "dependency.unreachable": (502, EXIT_FAILED),
    "job.ended": (409, EXIT_FAILED),
    "job.failed": (409, EXIT_FAILED),
    "job.cancelled": (409, EXIT_FAILED),
    "job.timed_out": (409, EXIT_FAILED),
}


def http_status(code: str) -> int:
    """HTTP status of an error code."""
    return STATUS[code][0]


def exit_status(code: str) -> int:
    """Exit status of the command line for an error code."""
    return STATUS[code][1]


def error_class(code: str) -> type[BcaiError]:
    """Return the class whose `code` this is, so that a client raises what the server raised."""
    pending: list[type[BcaiError]] = [BcaiError]
    while pending:
        candidate = pending.pop()
        if candidate.code == code:
            return candidate
        pending += candidate.__subclasses__()
    return BcaiError
