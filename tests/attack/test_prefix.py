"""Files that lie beside a Python, in a prefix such as /usr/local, are nobody's business."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from bcai.bridge.sandbox.environment import JobPython, own_python, shown_folders
from bcai.bridge.sandbox.jail import Cause, JailRequest
from bcai.bridge.sandbox.launcher import launch
from bcai.bridge.sandbox.probe import probe_alone, probe_namespaces

from .jails import LIMITS

CODE = """
def read(path):
    try:
        return open(path).read()
    except OSError as error:
        return type(error).__name__

found = {path: read(path) for path in %r}
import tiny
module = tiny.NAME
"""
SECRETS = ("etc/secret.conf", "bin/backup", "share/key")


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    folder = tmp_path / "prefix"
    for name in SECRETS:
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("secret")
        (folder / name).chmod(0o600)
    packages = folder / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "tiny.py").write_text("NAME = 'tiny'")
    return folder


def _found(tmp_path: Path, prefix: Path, python: JobPython, level: str) -> dict[str, object]:
    project = tmp_path / f"job-{level}-{len(python.folders)}"
    project.mkdir()
    (project / "job.py").write_text(CODE % [str(prefix / name) for name in SECRETS])
    packages = str(prefix / "lib/python3.11/site-packages")
    python = replace(python, sys_path=(*python.sys_path, packages))
    wanted = "high" if level == "A" else "standard"
    request = JailRequest(project, "job.py", None, (), LIMITS, python=python, security_level=wanted)
    ended = launch(request, lambda event: None, threading.Event(), level_max=level)
    assert ended.cause is Cause.EXITED, ended.message
    values = {each.name: each.value for each in ended.outputs}
    assert values["module"] == "tiny"
    return cast("dict[str, object]", values["found"])


@pytest.mark.parametrize("level", ["A", "C"])
def test_a_job_reads_the_python_of_a_prefix_and_nothing_beside_it(
    tmp_path: Path, prefix: Path, level: str
) -> None:
    report = probe_namespaces() if level == "A" else probe_alone()
    if report.level == "none":
        pytest.skip(f"this machine builds no such jail: {'; '.join(report.missing)}")
    own = own_python()
    few = shown_folders([str(prefix)], own.folders, "3.11")
    found = _found(tmp_path, prefix, replace(own, folders=tuple(few)), level)
    assert set(found.values()) <= {"FileNotFoundError", "PermissionError"}, found


def test_the_control_reads_them_where_the_whole_prefix_is_shown(
    tmp_path: Path, prefix: Path
) -> None:
    if probe_namespaces().level == "none":
        pytest.skip("this machine builds no jail with a file system of its own")
    own = own_python()
    whole = (*own.folders, str(prefix))
    found = _found(tmp_path, prefix, replace(own, folders=whole), "A")
    assert set(found.values()) == {"secret"}
