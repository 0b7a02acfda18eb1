"""Where text goes: consoles for people, plain streams for pipes."""

import json
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PIPE_WIDTH = 100  # tables in a pipe do not depend on somebody's window


def is_live() -> bool:
    """Whether stdout is a terminal that can redraw."""
    return sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def is_unicode() -> bool:
    """Whether stdout can show more than ASCII."""
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")


def stdout_console() -> "Console":
    """Console for what was asked for."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(highlight=False, soft_wrap=False, width=width, legacy_windows=False)


def stderr_console() -> "Console":
    """Console for everything else."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True, legacy_windows=False)


def summary_console() -> "Console":
    """Console for a job's summary: the terminal, or stderr where stdout is the job's own."""
    if sys.stdout.isatty():
        return stdout_console()
    from rich.console import Console

    width = None if sys.stderr.isatty() else PIPE_WIDTH
    return Console(stderr=True, highlight=False, width=width, legacy_windows=False)


def print_block(console: "Console", block: "RenderableType") -> None:
    """Print a table; in a pipe without the blanks that fill its lines up."""
    if console.is_terminal:
        console.print(block)
        return
    with console.capture() as captured:
        console.print(block)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    console.out("\n".join(lines), highlight=False)


def print_json(document: object) -> None:
    """Write one JSON document on one line of stdout."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Write a remark to stderr."""
    sys.stderr.write(f"bcai: {text}\n")
    sys.stderr.flush()
