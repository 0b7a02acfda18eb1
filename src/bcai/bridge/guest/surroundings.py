"""Where the user's script runs: its folders, the level of its jail, and what that level lacks."""

import errno
from collections.abc import Iterable

work = "/job"
folders: tuple[str, ...] = ("/job/", "/input/project/", "/input/data/")
"""What of a path the author of the script does not know."""

_level = ""
_programs = False

NEEDS_PROGRAMS = (
    "torch.compile starts a compiler, which this job may not: ask for "
    'security_level="standard" (`bcai run --security-level standard`), or leave torch.compile out'
)
_ALONE_FORK = (
    "at level C of the jail a job is one process and cannot start another; "
    "use threads, num_workers=0 for a DataLoader, or a node of level A or B"
)
_ALONE_SOCKET = "at level C of the jail there are no sockets at all, also none between own threads"
_ALONE_WRITE = (
    "at level C of the jail no file can be written: keep results in variables or with "
    "bcai.output(name, value), or use a node of level A or B"
)
_ALONE_COMPILE = "at level C of the jail torch.compile cannot work; it needs a node of level A or B"


def enter(level: str, work_folder: str, *inputs: str | None, programs: bool) -> None:
    """Say once, before the script starts, where it runs and whether it may start programs."""
    global _level, _programs, work, folders  # one each per process, set before the script starts
    _level, _programs, work = level, programs, work_folder
    folders = tuple(f"{each}/" for each in (work_folder, *inputs) if each)


def has_own_disk() -> bool:
    """Whether the work folder is a disk of the job's own, with a size of its own."""
    return _level not in ("C", "none")


def what_is_missing(chain: Iterable[BaseException]) -> str:
    """Say what of an error comes from the level of the jail, or return an empty string."""
    errors = list(chain)
    if not _programs and any(is_of_compiler(error) for error in errors):
        return _ALONE_COMPILE if _level == "C" else NEEDS_PROGRAMS
    if _level != "C":
        return ""
    for error in errors:
        frames = list(_functions(error))
        if isinstance(error, PermissionError) and any("fork" in name for name in frames):
            return _ALONE_FORK
        if isinstance(error, PermissionError) and "__init__" in frames and _in(error, "socket.py"):
            return _ALONE_SOCKET
        has_no_temporary = isinstance(error, FileNotFoundError) and _in(error, "tempfile.py")
        if has_no_temporary or (isinstance(error, OSError) and error.errno == errno.EACCES):
            return _ALONE_WRITE
    return ""


def is_of_compiler(error: BaseException) -> bool:
    """Whether torch.compile raised it."""
    return type(error).__module__.startswith(("torch._inductor", "torch._dynamo"))


def _functions(error: BaseException) -> Iterable[str]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code.co_name
        trace = trace.tb_next


def _in(error: BaseException, file: str) -> bool:
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith(f"/{file}"):
            return True
        trace = trace.tb_next
    return False
