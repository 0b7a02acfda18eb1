"""The first moments of `bcai`: what it is given as streams, and Ctrl-C while it is imported."""

import io
import os
import signal
import sys


def main() -> None:
    """Entry point of the `bcai` command."""
    _take_streams()
    is_heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else it is ignored
    if is_heeded:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing has begun that had to be ended
    from bcai.cli.main import main as run_command

    if is_heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run_command()


def _take_streams() -> None:
    """Have three streams that take every text.

    One that the caller has closed is /dev/null; else the next file would get its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free, this one
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
