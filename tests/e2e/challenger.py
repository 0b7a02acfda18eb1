"""A challenger in its own process, and what it says."""

import json
import os
import subprocess
import sys
from typing import Any

from bcai import SDK
from bcai.jobs.settlement import Settlement

WAIT_S = 300.0  # a slow, busy machine; nothing here is about speed


def start(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "bcai.cli", "node", "challenge", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def challenge_once(path: str = "", **environment: str) -> tuple[int, dict[str, Any]]:
    """Do what is due; `path` is what Python finds modules in first."""
    path = os.pathsep.join([path, os.environ.get("PYTHONPATH", "")])
    process = start("--once", "--json", PYTHONPATH=path, **environment)
    answer, errors = process.communicate(timeout=WAIT_S)
    assert answer, errors
    return process.returncode, {each["job"]: each for each in json.loads(answer)["audits"]}


def settlement(client: SDK, job_id: str) -> Settlement:
    found = client.job(job_id).result().settlement
    assert found is not None
    return found
