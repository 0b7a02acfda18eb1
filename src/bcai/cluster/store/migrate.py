"""Bring the database to this version's tables. Several processes may try at once."""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from bcai.base.errors import DependencyError
from bcai.cluster.store.engines import is_sqlite

_ADVISORY_LOCK = 0x62636169  # "bcai"
_FOLDER = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> None:
    """Run the revisions that the database lacks, in one transaction under a lock.

    Raises
    ------
    DependencyError
        The database was made by a newer version.
    """
    if is_sqlite(engine):
        with _file_lock(Path(str(engine.url.database) + ".lock")):
            _set_wal(engine)
            with engine.begin() as connection:
                _upgrade(connection)
        return
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    # Alembic takes a while to import and is needed here only.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise DependencyError(
            f"the database was made by a newer version of bcai: {error}",
            hint="upgrade bcai on this machine",
        ) from error


def _set_wal(engine: Engine) -> None:
    # The mode stays in the file. Changing it needs the file to itself, outside of transactions,
    # and SQLite does not always wait for that: hence the lock around this.
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode=WAL")
    finally:
        raw.close()


@contextmanager
def _file_lock(path: Path) -> Generator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
