"""Ctrl-C before there is anything to end."""

import os
import signal
import subprocess
import sys

import pytest

INTERRUPTED_WHILE_IMPORTED = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == "cyclopts":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv = ["bcai", "--version"]
if IGNORED:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
from bcai.cli.start import main
main()
"""


@pytest.mark.parametrize("ignored", [False, True])
def test_ctrl_c_while_it_is_imported_leaves_no_traceback(ignored: bool) -> None:
    code = INTERRUPTED_WHILE_IMPORTED.replace("IGNORED", str(ignored))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0 if ignored else -signal.SIGINT, b"")


@pytest.mark.parametrize(
    ("redirected", "status", "says"),
    [
        ("<&- >&- 2>&-", 0, ""),
        (">&-", 0, ""),
        ("2>&-", 0, "0.1.0\n"),
        ("> /dev/full", 1, "No space left on device\n"),
        ("run absent.py --json > /dev/full", 1, "No space left on device\n"),
    ],
)
def test_a_stream_that_takes_nothing_is_no_traceback(
    redirected: str, status: int, says: str
) -> None:
    option = "" if redirected.startswith("run") else "--version"
    command = f"{sys.executable} -m bcai.cli {option} {redirected}"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False)
    assert (done.stdout + done.stderr).endswith(says)


def test_what_the_encoding_lacks_is_escaped() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "bcai.cli", "run", "é.py", "--json"]
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert (done.returncode, b"no file or folder '\\xe9.py'" in done.stdout) == (2, True)
