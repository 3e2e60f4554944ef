"""Distinguishes an unavailable database (retry after a pause) from a failed statement."""

import sqlite3

from django.db import DEFAULT_DB_ALIAS, Error, InterfaceError, OperationalError, connection, connections

# SQLSTATE: connection exceptions, shutdowns, a full disk, too many connections, a transaction ended for idling. Of
# class 53 only these two: a statement that itself exceeds a limit would do so at every attempt.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
UNAVAILABLE_STATES = ("08", "57P", "53100", "53300", "25P03", "25P04")
LOCK_NOT_AVAILABLE = "55P03"
# A standby, or a primary that became one: the write has to wait for the next primary.
READ_ONLY = "25006"
UNAVAILABLE_CODES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}
PRIMARY_CODE = 0xFF


class RowIsLocked(OperationalError):
    """Raised when another transaction keeps a message's row locked. It is retried, and is not a failed attempt."""


def database_is_unavailable(error: BaseException) -> bool:
    """Return whether `error` means that the database is unavailable, and that the same operation may succeed later."""
    if isinstance(error, InterfaceError | RowIsLocked) or sqlstate(error) == READ_ONLY:
        return True
    if not isinstance(error, OperationalError):
        return False
    code = getattr(error.__cause__, "sqlite_errorcode", None)
    if code is not None:
        return code & PRIMARY_CODE in UNAVAILABLE_CODES
    # psycopg sets no SQLSTATE on an error without a response of the server: refused, cut, timed out.
    state = getattr(error.__cause__, "sqlstate", None)
    return state is None or state.startswith(UNAVAILABLE_STATES)


def is_operational(error: BaseException) -> bool:
    """Return whether `error` is temporary: an outage, and also a lock, a deadlock or a timeout."""
    return isinstance(error, OperationalError) or database_is_unavailable(error)


def sqlite_is_locked(error: OperationalError) -> bool:
    """Return whether a statement waited for another connection's lock of the SQLite database until its timeout."""
    code = getattr(error.__cause__, "sqlite_errorcode", 0)
    return code & PRIMARY_CODE in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def connection_was_lost(error: BaseException) -> bool:
    """Return whether `error` looks like a lost connection: not like a lock, a full disk or a standby."""
    if isinstance(error, RowIsLocked) or getattr(error.__cause__, "sqlite_errorcode", None) is not None:
        return False
    return database_is_unavailable(error) and (sqlstate(error) or "08").startswith(("08", "57P", "25P0"))


def database_answers() -> bool:
    """Return whether this thread's connection works; without a connection, connect first."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    return True


def trust_connection() -> None:
    """Skip Django's health check of this thread's connection: if it is lost, the next statement shows it too."""
    connections[DEFAULT_DB_ALIAS].health_check_done = True  # type: ignore[attr-defined]  # the stubs do not know it


def lock_was_not_available(error: OperationalError) -> bool:
    """Return whether a statement waited for a row lock until its `lock_timeout`."""
    return sqlstate(error) == LOCK_NOT_AVAILABLE


def sqlstate(error: BaseException) -> str | None:
    """Return PostgreSQL's code of an error; None for one without a response of the server, or of SQLite."""
    return getattr(error.__cause__, "sqlstate", None)
