"""Runs a user's script as `__main__`, inside a jail that stands already."""

import atexit
import builtins
import contextlib
import faulthandler
import os
import sys
import threading
import traceback
from types import ModuleType
from typing import Any, NoReturn

from bcai.bridge import report
from bcai.bridge.guest import surroundings
from bcai.bridge.guest.capturing.start import open_channel, start_capture
from bcai.bridge.guest.channel import Channel
from bcai.bridge.guest.inputs import Inputs
from bcai.bridge.guest.listed_imports import ask_before_imports
from bcai.bridge.guest.programs import explain_spawned_workers
from bcai.bridge.guest.training import NodeTrainer

_CONTROL, _OUTPUTS, _INPUTS = 3, 4, 5
_SPARE_BYTES = 4 << 20  # to tell of a failure where the script has left no memory


def run_guest(plan: dict[str, Any]) -> NoReturn:
    """Run the script that `plan` names, hand over its results, and exit as it would."""
    entry = plan["entry"]
    surroundings.enter(
        plan["level"], plan["work"], plan["project"], plan["data"], programs=plan["programs"]
    )
    _dress_interpreter(plan)
    if not plan["programs"]:
        explain_spawned_workers()
    if plan["allowed_imports"] is not None:
        ask_before_imports(plan["allowed_imports"])
    channel = Channel(_CONTROL, _OUTPUTS, plan["output_bytes"])
    report.report_to(channel)
    report.read_from(Inputs(_INPUTS))
    report.train_with(NodeTrainer(_CONTROL))
    if plan["captured"]:
        start_capture(open_channel(_CONTROL))
    main = ModuleType("__main__")
    main.__file__ = f"{plan['work']}/{entry}"
    main.__builtins__ = builtins  # type: ignore[attr-defined]
    sys.modules["__main__"] = main
    status = _run_script(main, channel)
    _finish(status)


def _run_script(main: ModuleType, channel: Channel) -> int:
    """Run it, join its threads, capture its variables and report the end."""
    job = os.getpid()
    spare = [bytes(_SPARE_BYTES)]  # counted against the limit, but never touched
    try:
        code = compile(_source(str(main.__file__)), str(main.__file__), "exec", dont_inherit=True)
        exec(code, main.__dict__)  # noqa: S102 - this is what the jail is for
        _join_threads()
    except SystemExit as stop:
        return _exit_status(stop, main, channel, job)
    except BaseException as error:  # noqa: BLE001 - whatever the user's code raises
        spare.clear()
        reports_to = channel if os.getpid() == job else None
        try:
            _report_failure(error, reports_to)
        except (MemoryError, OSError):
            vars(main).clear()  # no room even for that: what the script holds is all there is
            _report_failure(error, reports_to)
        return 1
    return _capture(main, channel, job, 0)


def _source(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _exit_status(stop: SystemExit, main: ModuleType, channel: Channel, job: int) -> int:
    """`sys.exit(...)`: the results so far count, whatever the status."""
    from bcai.bridge.guest.failure import limit_behind

    _join_threads()
    if stop.code is None or isinstance(stop.code, int):
        status = int(stop.code or 0) & 0xFF
        message = f"exited with status {status}" if status else ""
    else:
        sys.stderr.write(f"{stop.code}\n")
        status, message = 1, f"exited with status 1: {stop.code}"
    cause = (limit_behind(stop) if status else "") or "exited"
    return _capture(main, channel, job, status, message, cause)


def _capture(
    main: ModuleType,
    channel: Channel,
    job: int,
    status: int,
    message: str = "",
    cause: str = "exited",
) -> int:
    if os.getpid() != job:
        return status  # a fork of the script that ran to its end
    from bcai.bridge.guest.capture import capture_variables

    capture_variables(vars(main), channel)
    channel.end(cause, message.replace("\n", " "), "", None)
    return status


def _report_failure(error: BaseException, channel: Channel | None) -> None:
    """Print the traceback and, in the job's first process, tell the host."""
    from bcai.bridge.guest.failure import describe, print_traceback

    if isinstance(error, MemoryError):
        traceback.clear_frames(error.__traceback__)  # room for what follows
    print_traceback(error)
    if channel is not None:
        failure = describe(error)
        channel.end(failure.cause, failure.message, failure.hint, failure.line)


def _join_threads() -> None:
    """Wait as the interpreter does: for all threads that are not daemons."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def _finish(status: int) -> NoReturn:
    """Run the exit handlers, then leave without tearing down: faster, and nothing can crash."""
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed by the user's code
            stream.flush()
    os._exit(status)


def _dress_interpreter(plan: dict[str, Any]) -> None:
    """Make this interpreter look as if the script had been started in the host's environment."""
    import site

    for name in ("prefix", "exec_prefix", "executable"):
        setattr(sys, name, plan[name])
    project = plan["project"]
    folder = os.path.dirname(f"{project}/{plan['entry']}")
    sys.path[:] = [project, *([] if folder == project else [folder]), *plan["sys_path"]]
    sys.argv[:] = [plan["entry"], *plan["arguments"]]
    site.setquit()
    site.setcopyright()
    site.sethelper()
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as we live
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = open(  # noqa: SIM115
            number, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    faulthandler.enable(file=sys.__stderr__ or sys.stderr)
