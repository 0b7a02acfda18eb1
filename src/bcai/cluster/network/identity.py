"""What a network keeps between two starts: its keys and its port. And its lock: one per home."""

import fcntl
import json
import os
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import cast

from bcai.base.errors import ConflictError, InputError
from bcai.cluster.store.protocol import JobStore, Role

IDENTITY_FILE = "network.json"


@dataclass(frozen=True, slots=True)
class NetworkIdentity:
    """The keys of a network on this machine, and the port that it had last."""

    admin_key: str
    node_key: str
    port: int = 0

    def __repr__(self) -> str:
        """Keep secrets out of logs."""
        return f"NetworkIdentity(admin_key=***, node_key=***, port={self.port})"


def take_network_lock(folder: Path) -> int:
    """Become the one network of this home; the descriptor holds the lock while we live.

    Raises
    ------
    ConflictError
        Another network runs here.
    InputError
        The folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(folder / "network.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(
            f"the network's folder {str(folder)!r}: {error.strerror}",
            hint="set BCAI_HOME to a folder that you may write",
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(handle, 20).decode("ascii", "replace").strip()
        os.close(handle)
        raise ConflictError(
            f"a network runs already in {folder.parent} (process {pid or 'unknown'})",
            hint="use that one, stop it with 'bcai down', or choose another folder with BCAI_HOME",
        ) from None
    os.ftruncate(handle, 0)
    os.write(handle, f"{os.getpid()}\n".encode())
    return handle


def read_identity(folder: Path) -> NetworkIdentity:
    """Return this home's identity, made on the first start."""
    file = folder / IDENTITY_FILE
    try:
        content = cast("dict[str, object]", json.loads(file.read_text()))
        return NetworkIdentity(
            str(content["admin_key"]), str(content["node_key"]), int(str(content["port"]))
        )
    except FileNotFoundError:
        return NetworkIdentity(_new_secret(), _new_secret())
    except (ValueError, KeyError, TypeError) as error:
        raise ConflictError(
            f"{file} is damaged: {error}",
            hint="remove it: new keys are made, and the old ones stop working",
        ) from error


def write_identity(folder: Path, identity: NetworkIdentity, *, port: int) -> None:
    """Keep the identity for the next start."""
    write_private(folder / IDENTITY_FILE, asdict(replace(identity, port=port)))


async def register_keys(store: JobStore, identity: NetworkIdentity, *, place: str) -> None:
    """Make the store know our keys, and none that we had before.

    Parameters
    ----------
    place
        Machine and home folder: several networks may share one database.
    """
    keys = (
        (f"network {place}", Role.ADMIN, identity.admin_key),
        (f"nodes of {place}", Role.NODE, identity.node_key),
    )
    for name, role, secret in keys:
        key = await store.find_key(secret) or await store.add_key(name, role, secret)
        for other in await store.list_keys():
            # Made for a network.json that was removed since: nobody is meant to hold it any more.
            if (other.name, other.role) == (name, role) and other.id != key.id:
                await store.revoke_key(other.id)


def write_private(file: Path, content: dict[str, object]) -> None:
    """Write a JSON file that only its owner may read, atomically."""
    part = file.with_suffix(".part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as stream:
        json.dump(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)


def _new_secret() -> str:
    return "bcai_" + secrets.token_urlsafe(32)
