"""Connections to the database: one engine that writes, one that only reads."""

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from bcai.base.errors import DependencyError, InputError

READERS_MAX = 4  # connections that read at once; SQLite readers never block each other
LOCK_WAIT_S = 15  # for another process's transaction; theirs last milliseconds
CONNECT_WAIT_S = 10


def parse_url(text: str | None, default: Path) -> URL:
    """Return where the database is; None means the SQLite file `default`.

    Raises
    ------
    InputError
        It is neither a SQLite file nor PostgreSQL.
    """
    if text is None:
        return URL.create("sqlite", database=str(default))
    try:
        url = make_url(text)
    except ArgumentError:
        raise InputError(
            "database_url: not a database's address",
            hint="expected such as 'postgresql://user:password@host/name'",
        ) from None
    if url.get_backend_name() == "postgres" or url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    in_memory = url.database in (None, "", ":memory:")
    if url.drivername == "postgresql+psycopg" or (url.drivername == "sqlite" and not in_memory):
        return url
    raise InputError(
        f"database_url: found {url.render_as_string()!r}, expected a SQLite file or PostgreSQL"
    )


def is_sqlite(engine: Engine) -> bool:
    """Whether the database is a file of this machine."""
    return engine.dialect.name == "sqlite"


def writing_engine(url: URL) -> Engine:
    """Connect to write, one transaction at a time."""
    if url.drivername == "sqlite":
        return _sqlite_engine(url, begin="BEGIN IMMEDIATE", pool_size=1)
    return _postgres_engine(url, pool_size=1)


def reading_engine(url: URL) -> Engine:
    """Connect to read; each transaction sees one moment of the database."""
    if url.drivername == "sqlite":
        # One more than the readers, for the watcher.
        return _sqlite_engine(url, begin="BEGIN", pool_size=READERS_MAX + 1)
    engine = _postgres_engine(url, pool_size=READERS_MAX + 1)
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def _sqlite_engine(url: URL, *, begin: str, pool_size: int) -> Engine:
    engine = create_engine(url, pool_size=pool_size, max_overflow=0)

    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's own idea of when to begin would break savepoints and read snapshots.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={LOCK_WAIT_S * 1000}")
        connection.execute("PRAGMA synchronous=FULL")  # durable through a power loss
        connection.execute("PRAGMA foreign_keys=ON")
        if begin == "BEGIN":
            connection.execute("PRAGMA query_only=ON")

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", start)
    return engine


def _postgres_engine(url: URL, *, pool_size: int) -> Engine:
    try:
        engine = create_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            pool_pre_ping=True,  # a restarted server costs one round trip, not one failure
            connect_args={"connect_timeout": CONNECT_WAIT_S},
        )
    except ModuleNotFoundError as error:
        raise DependencyError(
            "PostgreSQL needs its driver", hint="pip install 'bcai[postgres]'"
        ) from error

    def prepare(connection: Any, _record: object) -> None:
        connection.execute(f"SET lock_timeout = '{LOCK_WAIT_S}s'")
        connection.execute("SET synchronous_commit = on")  # whatever the server's default
        connection.commit()

    event.listen(engine, "connect", prepare)
    return engine
