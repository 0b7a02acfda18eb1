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


TAKE = """
import time
from bcai.bridge.sandbox.namespaces import own_id
from bcai.bridge.sandbox.status import Status

def start():
    # A process that takes an id when told, says which, and holds it.
    go, told = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        libc.prctl(libc.PR_SET_PDEATHSIG, 9)
        os.read(go[0], 1)
        found = own_id(Status(told[1]))
        os.write(told[1], f"{found}\\n".encode())
        time.sleep(600)
        os._exit(0)
    return pid, go[1], told[0]

def take(count):
    # All at one instant.
    started = [start() for _ in range(count)]
    for _, go, _ in started:
        os.write(go, b"x")
    return {pid: os.read(told, 1000).decode().strip() for pid, _, told in started}

def end(pid):
    os.kill(pid, 9)
    os.waitpid(pid, 0)

three = take(3)
print(*sorted(three.values()))
(fourth, refused), = take(1).items()
print(refused)
pid, number = three.popitem()
end(pid)
(next_one, again), = take(1).items()
print(again == number)
for pid in (*three, next_one):
    end(pid)
"""


def said_in(ids: str, code: str = PROBE) -> list[str]:
    """What the code prints in a user namespace of these ids; by default, what the probe says."""
    with subprocess.Popen(
        [sys.executable, "-c", ENTER + code],
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


@only_as_root
def test_jails_that_start_in_one_instant_have_ids_of_their_own() -> None:
    taken, refused, is_free_again = said_in("0 0 1\n20000 20000 3", TAKE)
    assert taken == "20000 20001 20002"
    assert "none to spare" in refused
    assert is_free_again == "True"  # its jail was killed, and could give nothing back itself
