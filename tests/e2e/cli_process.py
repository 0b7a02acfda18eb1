"""`bcai` as users run it: a process of its own, in a pipe or on a pseudo-terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

COMMAND = (sys.executable, "-m", "bcai.cli")
PATIENCE_S = 240  # a slow, busy machine that imports torch for the first time
OWN_TRACEBACK = re.compile(r'File "[^"]*/bcai/')  # a traceback of the job's own is fine
_CODES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>])")


@dataclass(frozen=True)
class Answer:
    """What a command answered."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Cli:
    """`bcai` with a home folder of its own."""

    home: Path

    def environment(self, **more: str) -> dict[str, str]:
        """Our environment, without what would lead to somebody else's network."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BCAI_")}
        return {**kept, "BCAI_HOME": str(self.home), "COLUMNS": "100", **more}

    def run(self, *tokens: str | Path, cwd: Path | None = None, **more: str) -> Answer:
        """Run a command in a pipe to its end."""
        done = subprocess.run(
            [*COMMAND, *map(str, tokens)],
            capture_output=True, text=True, timeout=PATIENCE_S, cwd=cwd, check=False,
            env=self.environment(**more), stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert not OWN_TRACEBACK.search(done.stderr), done.stderr
        return Answer(done.returncode, done.stdout, done.stderr)

    def on_terminal(self, *tokens: str | Path, width: int = 100, **more: str) -> "Terminal":
        """Start a command on a pseudo-terminal."""
        return Terminal([*COMMAND, *map(str, tokens)], self.environment(**more), width)


class Terminal:
    """A command on a pseudo-terminal, and everything that it wrote there."""

    def __init__(self, command: list[str], environment: dict[str, str], width: int) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, width, 0, 0))
        environment = {**environment, "TERM": environment.get("TERM", "xterm-256color")}
        environment.pop("COLUMNS")
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(theirs)
        self._ours = ours
        self._raw = b""

    @property
    def raw(self) -> str:
        """What was written, with terminal codes."""
        return self._raw.decode("utf-8", "replace")

    @property
    def text(self) -> str:
        """What was written, without terminal codes."""
        return _CODES.sub("", self.raw)

    def until(self, ready: Callable[[str], bool]) -> str:
        """Read until the text is as wanted."""
        end = time.monotonic() + PATIENCE_S
        while not ready(self.text):
            assert time.monotonic() < end, self.text
            assert self._read(), f"ended too soon: {self.text}"
        return self.text

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.killpg(self._process.pid, signal.SIGINT)

    def finish(self) -> int:
        """Read to the end and return the exit status."""
        end = time.monotonic() + PATIENCE_S
        while self._read():
            assert time.monotonic() < end, self.text
        status = self._process.wait(PATIENCE_S)
        os.close(self._ours)
        assert not OWN_TRACEBACK.search(self.text), self.text
        return status

    def _read(self) -> bool:
        """Read what is there; False once the command has closed its end."""
        if not select.select([self._ours], [], [], 1.0)[0]:
            return True
        try:
            piece = os.read(self._ours, 65_536)
        except OSError:  # EIO: the other end is closed
            return False
        self._raw += piece
        return bool(piece)
