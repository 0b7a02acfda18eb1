"""What went wrong in the database, in our own words: which errors break, retry or blame."""

import sqlite3

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from bcai.base.errors import BcaiError, DependencyError, InputError, ResourceError

# After these SQLite may have rolled back the whole transaction, savepoints and all.
# Source: https://sqlite.org/lang_transaction.html, "Response To Errors Within A Transaction".
_SQLITE_BREAKS = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_NOMEM", "SQLITE_BUSY", "SQLITE_INTERRUPT")
# Serialization failure and deadlock. Source: PostgreSQL's manual, appendix A.
_POSTGRES_AGAIN = ("40001", "40P01")
# What a driver raises for a text or a number that its database has no place for.
UNSTORABLE = UnicodeError | OverflowError
_POSTGRES_NO_ROOM = "53"  # class 53: insufficient resources


def is_contested(error: Exception) -> bool:
    """Whether another writer came first, so that the same operation may succeed when run again."""
    return isinstance(error, IntegrityError) or _sqlstate(error) in _POSTGRES_AGAIN


def breaks_transaction(error: Exception) -> bool:
    """Whether nothing of the transaction can be kept, not even what came before."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return _sqlite_name(error).startswith(_SQLITE_BREAKS)


def fault_of(error: Exception) -> BcaiError:
    """Describe a database's error without the statement's values, which are a user's secrets."""
    if isinstance(error, BcaiError):
        return error
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    text = next(iter(str(cause).splitlines()), type(cause).__name__)
    if _sqlite_name(error) == "SQLITE_FULL" or _sqlstate(error).startswith(_POSTGRES_NO_ROOM):
        return ResourceError(
            f"the database has no room: {text}", hint="free some disk space, then try again"
        )
    if isinstance(error, DataError | UNSTORABLE):
        return InputError(f"the database cannot hold this value: {text}")
    if _sqlite_name(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return DependencyError(
            f"another process kept the database to itself: {text}", hint="try again in a moment"
        )
    return DependencyError(f"the database failed: {text}")


def _sqlite_name(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return getattr(cause, "sqlite_errorname", "") if isinstance(cause, sqlite3.Error) else ""


def _sqlstate(error: Exception) -> str:
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""
