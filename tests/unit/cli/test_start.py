"""Ctrl-C before there is anything to end."""

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
