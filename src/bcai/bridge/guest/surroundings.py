"""Where the user's script runs: its folders, the level of its jail, and what that level lacks."""

import traceback
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
_ALONE_PROCESS = (
    "at level C of the jail a job is one process and cannot start another; "
    "use threads, num_workers=0 for a DataLoader, or a node of level A or B"
)
_ALONE_SOCKET = "at level C of the jail there are no sockets at all, also none between own threads"
_ALONE_FILES = (
    "at level C of the jail a job reads its own files and Python's, and can write none: keep "
    "results in variables or with bcai.output(name, value), or use a node of level A or B"
)
_ALONE_COMPILE = "at level C of the jail torch.compile cannot work; it needs a node of level A or B"


def enter(level: str, work_folder: str, *inputs: str | None, programs: bool) -> None:
    """Say once, before the script starts, where it runs and whether it may start programs."""
    global _level, _programs, work, folders  # one each per process, set before the script starts
    _level, _programs, work = level, programs, work_folder
    folders = tuple(f"{each}/" for each in (work_folder, *inputs) if each)


def level() -> str:
    """The level of this job's jail."""
    return _level


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
        if isinstance(error, PermissionError) and not _in(error, "/subprocess.py"):
            return _refused_alone(error)
        if isinstance(error, FileNotFoundError) and _in(error, "/tempfile.py"):
            return _ALONE_FILES
    return ""


def _refused_alone(error: PermissionError) -> str:
    """Which of the things that level C refuses it was."""
    lines = traceback.extract_tb(error.__traceback__)
    if _in(error, "/multiprocessing/") or (lines and "fork" in (lines[-1].line or "")):
        return _ALONE_PROCESS
    return _ALONE_SOCKET if _in(error, "/socket.py") else _ALONE_FILES


def is_of_compiler(error: BaseException) -> bool:
    """Whether torch.compile raised it."""
    return type(error).__module__.startswith(("torch._inductor", "torch._dynamo"))


def _in(error: BaseException, part: str) -> bool:
    """Whether the error passed through a file whose path has this part."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(part in frame.f_code.co_filename for frame, _ in frames)
