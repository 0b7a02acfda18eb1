"""What a job's process says where it ends before the script begins."""

import subprocess
import sys

OUT_OF_MEMORY = """
import os, sys
from bcai.bridge.guest import runner
from bcai.bridge.sandbox.confine import run
from bcai.bridge.sandbox.status import Status
runner.run_guest = lambda guest: bytes(1 << 62)
os.dup2(1, 6)
run({"guest": {}}, Status(6))
"""


def test_too_little_memory_for_the_interpreter_is_one_line_without_our_frames() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "MemoryError\n")
    assert done.stdout == '{"started": true}\n'
