"""Tells a database that is away from a statement that failed. One is waited out, the other is a failure."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, Error, InterfaceError, OperationalError, connection, connections

# SQLSTATE: connection exceptions, shutdowns, a full disk, no room for a connection, a transaction ended for idling. Of
# class 53 no more than these two: a statement may exceed a limit by itself, and would at every attempt.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
AWAY_STATES = ("08", "57P", "53100", "53300", "25P03", "25P04")
LOCK_NOT_AVAILABLE = "55P03"
# A standby, or a primary that was made one: what is written here has to wait for the next primary.
READ_ONLY = "25006"
AWAY_CODES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}
PRIMARY_CODE = 0xFF


class RowIsLocked(OperationalError):
    """Raised when somebody else keeps a message's row locked: that passes, and is no failure of the message's."""


def database_is_away(error: BaseException) -> bool:
    """Say whether `error` means that the database was lost, and that the same may succeed later."""
    if isinstance(error, InterfaceError | RowIsLocked) or _sqlstate(error) == READ_ONLY:
        return True
    if not isinstance(error, OperationalError):
        return False
    code = getattr(error.__cause__, "sqlite_errorcode", None)
    if code is not None:
        return code & PRIMARY_CODE in AWAY_CODES
    # psycopg gives no state to what never reached the server: refused, cut, timed out.
    state = getattr(error.__cause__, "sqlstate", None)
    return state is None or state.startswith(AWAY_STATES)


def connection_was_lost(error: BaseException) -> bool:
    """Say whether `error` looks like the end of a connection: not a lock, a full disk or a standby, which pass."""
    if isinstance(error, RowIsLocked) or getattr(error.__cause__, "sqlite_errorcode", None) is not None:
        return False
    return database_is_away(error) and (_sqlstate(error) or "08").startswith(("08", "57P", "25P0"))


def database_answers() -> bool:
    """Say whether the connection of this thread works; one is made where there is none."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    return True


def trust_connection() -> None:
    """Have the connection not be asked first whether it lives: what is done with it next finds that out as well."""
    connections[DEFAULT_DB_ALIAS].health_check_done = True  # type: ignore[attr-defined]  # the stubs do not know it


def lock_was_not_available(error: OperationalError) -> bool:
    """Say whether a row lock was waited for in vain."""
    return _sqlstate(error) == LOCK_NOT_AVAILABLE


@contextmanager
def locks_may_be_taken() -> Iterator[None]:
    """Say of a row lock that was waited for in vain what it is.

    Raises:
        RowIsLocked: in place of the database's own error.
    """
    try:
        yield
    except OperationalError as error:
        if lock_was_not_available(error):
            raise RowIsLocked(*error.args) from error
        raise


def _sqlstate(error: BaseException) -> str | None:
    return getattr(error.__cause__, "sqlstate", None)
