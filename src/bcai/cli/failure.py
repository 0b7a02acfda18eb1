"""How an error reaches a user: what happened, what to do about it, and an exit status."""

import traceback

from bcai.base.errors import BcaiError, exit_status
from bcai.cli.terminal import print_json, stderr_console


def report_failure(error: Exception, *, as_json: bool, verbose: bool) -> int:
    """Tell the user about an error and return the exit status for it.

    With `--json` the answer is a document with `code`, `message`, `hint` and `exit_status` on
    stdout, so that stdout always holds exactly one document.
    """
    code, message, hint = _describe(error)
    status = exit_status(code)
    if as_json:
        print_json({"code": code, "message": message, "hint": hint, "exit_status": status})
    else:
        _print(message, hint)
    if verbose:
        stderr_console().print(
            "".join(traceback.format_exception(error)), style="dim", markup=False
        )
    return status


def _describe(error: Exception) -> tuple[str, str, str]:
    if isinstance(error, BcaiError):
        return error.code, str(error), error.hint
    if isinstance(error, OSError):
        return "internal", str(error), ""
    name = type(error).__name__
    return (
        BcaiError.code,
        f"this is a fault in bcai itself: {name}: {error}",
        "run the same command with --verbose and report what it shows",
    )


def _print(message: str, hint: str) -> None:
    from rich.text import Text

    console = stderr_console()
    console.print(Text.assemble(("error: ", "bold red"), message))
    if hint:
        console.print(Text.assemble(("hint: ", "bold cyan"), hint))
