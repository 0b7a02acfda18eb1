"""A node that root runs in a user namespace of few ids, as containers without root have them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bcai.bridge.sandbox.probe import probe_namespaces

from .test_ordinary_user import only_as_root

ENTER = """
import os, sys
from bcai.bridge.sandbox import libc
libc.unshare(libc.CLONE_NEWUSER)
print("made", flush=True)
sys.stdin.readline()
os.setresgid(0, 0, 0)
os.setresuid(0, 0, 0)
"""
PROBE = """
from bcai.bridge.sandbox.probe import probe_jail
found = probe_jail()
print(found.level, *found.missing, sep="\\n")
"""


def said_in(ids: str) -> list[str]:
    """What the probe says in a user namespace of these ids."""
    with subprocess.Popen(
        [sys.executable, "-c", ENTER + PROBE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        text=True,
    ) as inside:
        assert inside.stdout is not None
        if inside.stdout.readline() != "made\n":
            pytest.skip("no user namespaces here; allow them: sysctl user.max_user_namespaces")
        for kind in ("uid", "gid"):
            Path(f"/proc/{inside.pid}/{kind}_map").write_text(ids)
        out, _ = inside.communicate("\n", timeout=240)
    return out.splitlines()


@only_as_root
def test_where_no_id_is_to_spare_every_jail_is_refused_with_the_reason() -> None:
    level, *missing = said_in("0 0 1")
    assert level == "none"
    assert all("a user id of its own, and this user namespace has none" in each for each in missing)
    assert all("run the node as an ordinary user" in each for each in missing)


@only_as_root
def test_a_container_with_few_ids_builds_the_jail() -> None:
    if probe_namespaces().level == "none":
        pytest.skip("no jail of level A or B on this machine: see bcai doctor")
    level, *missing = said_in("0 0 65536")
    assert level in ("A", "B"), missing
