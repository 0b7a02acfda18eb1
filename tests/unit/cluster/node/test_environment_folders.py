"""Environments go under nobody's feet, and no job takes one that is on its way out."""

import json
from pathlib import Path

import pytest

from bcai.base.errors import NotFoundError
from bcai.bridge.sandbox.environment import own_python
from bcai.cluster.node.environment_folders import clear_retired, held, remove_environment
from bcai.cluster.node.environment_lock import Lock
from bcai.cluster.node.environments import (
    MANIFEST,
    NodeEnvironment,
    environment_names,
    environments_folder,
)
from bcai.jobs.environment import Environment


def made(home: Path, name: str = "tiny") -> NodeEnvironment:
    """An environment as far as its life and death are concerned."""
    folder = environments_folder(home) / name
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text(json.dumps({"name": name}))
    lock = Lock("3.11", "cpython", "linux-x86_64", ())
    return NodeEnvironment(Environment(name, "3.11.7", {}), own_python(), lock, folder=folder)


def test_one_that_no_job_uses_goes_at_once(tmp_path: Path) -> None:
    environment = made(tmp_path)
    with held(environment), held(environment):
        pass
    assert remove_environment(tmp_path, "tiny")
    assert not (environments_folder(tmp_path) / "tiny").exists()
    with pytest.raises(NotFoundError, match="'tiny' was removed"), held(environment):
        pass


def test_one_in_use_stays_until_its_last_job_has_ended(tmp_path: Path) -> None:
    environment, parent = made(tmp_path), environments_folder(tmp_path)
    with held(environment):
        with held(environment):
            assert not remove_environment(tmp_path, "tiny")
        assert environment_names(tmp_path) == []
        with pytest.raises(NotFoundError, match="'tiny' was removed"), held(environment):
            pass
        clear_retired(parent)
        assert (parent / "tiny" / MANIFEST).exists()
    clear_retired(parent)
    assert not (parent / "tiny").exists()
    with pytest.raises(NotFoundError, match="there are: default"):
        remove_environment(tmp_path, "tiny")


def test_a_damaged_one_can_be_removed(tmp_path: Path) -> None:
    (environments_folder(tmp_path) / "torn").mkdir(parents=True)
    assert remove_environment(tmp_path, "torn")
    assert environment_names(tmp_path) == []


def test_the_nodes_own_python_is_held_by_nobody() -> None:
    with held(None):
        pass
