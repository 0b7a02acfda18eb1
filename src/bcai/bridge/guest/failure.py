"""Says in one line how a script failed, and prints the traceback as its author would expect it."""

import errno
import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator

from bcai.bridge.guest import surroundings
from bcai.bridge.guest.packages import distribution_of
from bcai.bridge.guest.programs import NO_PROGRAMS

_OWN = os.path.abspath(__file__ + "/../../..") + "/"  # the bcai package
_CHAIN_MAX = 20
_NO_MEMORY_TEXTS = ("can't allocate memory", "Cannot allocate memory", "bad_alloc")
_NO_NETWORK = "a job has no network; bring what it needs as data files"


class Failure:
    """How a script ended, for the host: `cause` is a value of `sandbox.jail.Cause`."""

    def __init__(self, cause: str, message: str, hint: str = "", line: int | None = None) -> None:
        self.cause = cause
        self.message = message
        self.hint = hint
        self.line = line


def describe(error: BaseException) -> Failure:
    """Find the cause of an uncaught exception."""
    file, line = _user_place(error)
    place = f" ({file}, line {line})" if line else ""
    text = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()
    # A compiler's error ends with advice about its own settings.
    line_of_sense = 0 if surroundings.is_of_compiler(error) else -1
    summary = text[line_of_sense] if text else type(error).__name__
    if isinstance(error, SyntaxError) and (not error.filename or _is_users(error.filename)):
        file, line = user_path(error.filename or "the script"), error.lineno
        return Failure("syntax_error", f"{type(error).__name__}: {error.msg} ({file}, line {line})",
                       "correct that line", line)  # fmt: skip
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = distribution_of(error.name)
        message = (
            f"No module named {error.name!r}: the package {package} is not on this node{place}"
        )
        hint = f'ask for it with requirements=["{package}"], or ask the node\'s owner to install it'
        return Failure("missing_import", message, hint, line)
    chain = list(_chain(error))
    limit = _limit_met(chain)
    if limit:
        return Failure(limit, summary + place, line=line)
    return Failure("exception", summary + place, _hint(chain), line)


def limit_behind(error: BaseException) -> str:
    """The limit that a script met before it gave up with `sys.exit(1)`, or an empty string."""
    return _limit_met(list(_chain(error)))


def print_traceback(error: BaseException) -> None:
    """Print it to stderr with the user's frames only, and paths as in their project."""
    report = traceback.TracebackException.from_exception(error)
    pending, seen = [report], 0
    while pending and seen < _CHAIN_MAX:
        part = pending.pop()
        seen += 1
        frames = [frame for frame in part.stack if not frame.filename.startswith(_OWN)]
        for frame in frames:
            _ = frame.line  # looked up under the real name, then kept
            frame.filename = user_path(frame.filename)
        part.stack = traceback.StackSummary.from_list(frames)
        if isinstance(getattr(part, "filename", None), str):  # a syntax error
            part.filename = user_path(part.filename or "")
        pending += [link for link in (part.__cause__, part.__context__) if link is not None]
    sys.stderr.write("".join(report.format()))
    sys.stderr.flush()


def user_path(path: str) -> str:
    """`/job/train.py` as `train.py`."""
    for folder in surroundings.folders:
        if path.startswith(folder):
            return path[len(folder) :]
    return path


def _is_users(path: str) -> bool:
    return path.startswith(surroundings.folders)


def _user_place(error: BaseException) -> tuple[str, int | None]:
    """File and line of the innermost frame of the user's own code."""
    place: tuple[str, int | None] = ("", None)
    for frame, line in traceback.walk_tb(error.__traceback__):
        if _is_users(frame.f_code.co_filename):
            place = (user_path(frame.f_code.co_filename), line)
    return place


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(_CHAIN_MAX):
        if link is None:
            return
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _limit_met(chain: list[BaseException]) -> str:
    """Find a limit in what was raised. Where a library lost it, the host looks for what is full."""
    if any(_is_no_memory(link) for link in chain):
        return "memory"
    if any(_is_errno(link, errno.EFBIG) for link in chain):
        return "file_bytes"
    if any(_is_errno(link, errno.ENOSPC) for link in chain):
        own = surroundings.has_own_disk()
        return "inodes" if own and not os.statvfs(surroundings.work).f_favail else "disk_bytes"
    if any(_is_no_process(link) for link in chain):
        return "processes"
    return ""


def _is_errno(error: BaseException, number: int) -> bool:
    return isinstance(error, OSError) and error.errno == number


def _is_no_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or _is_errno(error, errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY_TEXTS)


def _is_no_process(error: BaseException) -> bool:
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return True
    if not _is_errno(error, errno.EAGAIN):
        return False
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and "fork" in f"{frames[-1].line} {frames[-1].name}"


def _hint(chain: list[BaseException]) -> str:
    """What the jail forbids often looks like something else; say what it was."""
    lacking = surroundings.what_is_missing(chain)
    if lacking:
        return lacking
    for error in chain:
        if isinstance(error, EOFError) and "reading a line" in str(error):
            return "nobody can type into a job; give it arguments or data files instead"
        if isinstance(error, socket.gaierror):
            return _NO_NETWORK
        if not isinstance(error, PermissionError):
            if _is_errno(error, errno.EROFS):
                return "a job can write in its working folder only; project and data are read-only"
            continue
        files = {frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)}
        if NO_PROGRAMS in str(error):
            return "with 'fork' (torch's DataLoader has it by default), workers run as they are"
        if subprocess.__file__ in files or "exec" in str(error):
            return NO_PROGRAMS
        if socket.__file__ in files:
            return _NO_NETWORK
        return "a job can write in its working folder only; project and data are read-only"
    return ""
