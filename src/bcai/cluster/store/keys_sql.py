"""API keys. A secret is 256 random bits, so one fast hash hides it; only that is stored."""

import hmac
from typing import Any

from blake3 import blake3
from sqlalchemy import Connection, Row, insert, select, update

from bcai.base.errors import NotFoundError
from bcai.cluster.store.protocol import ApiKey, Role
from bcai.cluster.store.tables import API_KEYS


def hash_of(secret: str) -> str:
    """What is stored of a secret."""
    return blake3(secret.encode("utf-8", "surrogatepass")).hexdigest()


def add_key(connection: Connection, key: ApiKey, secret_hash: str) -> ApiKey:
    """Store a key. The same secret once more returns the key that it is already."""
    query = select(API_KEYS).where(API_KEYS.c.secret_hash == secret_hash)
    row = connection.execute(query).one_or_none()
    if row is not None:
        return _to_key(row)
    connection.execute(
        insert(API_KEYS).values(
            id=key.id,
            name=key.name,
            role=key.role,
            secret_hash=secret_hash,
            created_at=key.created_at,
        )
    )
    return key


def find_key(connection: Connection, secret_hash: str) -> ApiKey | None:
    """Return the live key with this hash."""
    query = select(API_KEYS).where(API_KEYS.c.secret_hash == secret_hash)
    row = connection.execute(query).one_or_none()
    if row is None or row.revoked_at is not None:
        return None
    return _to_key(row) if hmac.compare_digest(row.secret_hash, secret_hash) else None


def list_keys(connection: Connection) -> list[ApiKey]:
    """Return all keys, oldest first."""
    query = select(API_KEYS).order_by(API_KEYS.c.created_at, API_KEYS.c.id)
    return [_to_key(row) for row in connection.execute(query)]


def revoke_key(connection: Connection, key_id: str, now: float) -> ApiKey:
    """Revoke a key; the first time counts."""
    connection.execute(
        update(API_KEYS)
        .where(API_KEYS.c.id == key_id, API_KEYS.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    row = connection.execute(select(API_KEYS).where(API_KEYS.c.id == key_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"no API key {key_id[:80]!r}")
    return _to_key(row)


def _to_key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
