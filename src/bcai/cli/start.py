"""The first moments of `bcai`: while it is being imported, Ctrl-C ends it without a word."""

import signal


def main() -> None:
    """Entry point of the `bcai` command."""
    is_heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else it is ignored
    if is_heeded:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing has begun that had to be ended
    from bcai.cli.main import main as run_command

    if is_heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run_command()
