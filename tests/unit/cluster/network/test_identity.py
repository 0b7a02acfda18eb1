import json
from pathlib import Path

import pytest

from bcai.base.errors import ConflictError, InputError
from bcai.cluster.network.identity import (
    IDENTITY_FILE,
    NetworkIdentity,
    read_identity,
    register_keys,
    take_network_lock,
    write_identity,
    write_private,
)
from bcai.cluster.store.open import open_store
from bcai.settings import Settings


def test_an_identity_outlives_its_process_with_its_port(tmp_path: Path) -> None:
    identity = read_identity(tmp_path)
    write_identity(tmp_path, identity, port=4711)
    again = read_identity(tmp_path)
    assert (again.admin_key, again.node_key) == (identity.admin_key, identity.node_key)
    assert again.port == 4711
    assert again.admin_key.startswith("bcai_")
    assert again.admin_key != again.node_key


def test_secrets_do_not_show(tmp_path: Path) -> None:
    identity = read_identity(tmp_path)
    assert identity.admin_key not in repr(identity)
    assert identity.node_key not in repr(identity)


def test_private_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "endpoint.json"
    (tmp_path / "endpoint.part").write_text("of a process that was killed")
    write_private(file, {"url": "http://127.0.0.1:1"})
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text()) == {"url": "http://127.0.0.1:1"}


def test_a_damaged_identity_is_named_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / IDENTITY_FILE).write_text("{")
    with pytest.raises(ConflictError, match=IDENTITY_FILE) as caught:
        read_identity(tmp_path)
    assert "remove it" in caught.value.hint


def test_a_home_has_one_network(tmp_path: Path) -> None:
    take_network_lock(tmp_path)
    with pytest.raises(ConflictError, match="runs already"):
        take_network_lock(tmp_path)


@pytest.mark.anyio
async def test_keys_of_an_identity_that_was_removed_stop_working(tmp_path: Path) -> None:
    store = open_store(Settings(home=tmp_path))
    await store.start()
    first, second, elsewhere = (NetworkIdentity(f"bcai_a{n}", f"bcai_n{n}") for n in range(3))
    for identity, place in ((first, "here"), (elsewhere, "there"), (second, "here")):
        await register_keys(store, identity, place=place)
        await register_keys(store, identity, place=place)
    found = [
        await store.find_key(key)
        for one in (first, second, elsewhere)
        for key in (one.admin_key, one.node_key)
    ]
    await store.stop()
    assert [key is not None for key in found] == [False, False, True, True, True, True]


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(InputError, match="home/network': Not a directory"):
        take_network_lock(tmp_path / "home" / "network")
