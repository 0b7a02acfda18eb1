"""A node takes up what was built and drops what was removed; half of one it never sees."""

from pathlib import Path

import pytest

from bcai.base.errors import FormatError
from bcai.bridge.sandbox.environment import own_python
from bcai.cluster.node import environment_shelf
from bcai.cluster.node.environment_folders import remove_environment
from bcai.cluster.node.environment_lock import Lock
from bcai.cluster.node.environment_shelf import Shelf, look_again
from bcai.cluster.node.environments import MANIFEST, NodeEnvironment, environments_folder
from bcai.jobs.environment import OWN_NAME, Environment

LOCK = Lock("3.11", "cpython", "linux-x86_64", ())


def environment(name: str, folder: Path | None = None) -> NodeEnvironment:
    return NodeEnvironment(Environment(name, "3.11.7", {}), own_python(), LOCK, folder=folder)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the environments that were read; one called `torn` is damaged."""
    names: list[str] = []

    def read_environment(home: Path, name: str) -> NodeEnvironment:
        names.append(name)
        if name == "torn":
            raise FormatError("environment 'torn' is damaged")
        return environment(name, environments_folder(home) / name)

    monkeypatch.setattr(environment_shelf, "read_environment", read_environment)
    return names


def build(home: Path, name: str) -> None:
    folder = environments_folder(home) / name
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text("{}")


def test_what_comes_and_goes_is_noticed_and_nothing_is_read_twice(
    tmp_path: Path, read: list[str]
) -> None:
    first = Shelf({OWN_NAME: environment(OWN_NAME)})
    assert look_again(tmp_path, first) == first
    for name in ("b", "a", "torn", ".building-x"):
        build(tmp_path, name)
    second = look_again(tmp_path, first)
    assert list(second.environments) == [OWN_NAME, "a", "b"]
    assert read == ["a", "b", "torn"]
    third = look_again(tmp_path, second)
    assert third == second
    assert read == ["a", "b", "torn"]
    assert remove_environment(tmp_path, "a")
    assert list(look_again(tmp_path, third).environments) == [OWN_NAME, "b"]


def test_one_that_was_built_again_under_its_name_is_another(
    tmp_path: Path, read: list[str]
) -> None:
    build(tmp_path, "a")
    before = look_again(tmp_path, Shelf({OWN_NAME: environment(OWN_NAME)}))
    remove_environment(tmp_path, "a")
    build(tmp_path, "keeps-the-inode")
    build(tmp_path, "a")
    look_again(tmp_path, before)
    assert read == ["a", "a", "keeps-the-inode"]
