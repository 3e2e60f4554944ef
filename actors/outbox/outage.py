"""Tells a database that is away from a statement that failed. One is waited out, the other is a failure."""

import sqlite3

from django.db import InterfaceError, OperationalError

# SQLSTATE: connection exceptions, shutdowns, no room for a connection, a transaction ended for idling.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
AWAY_STATES = ("08", "57P", "53", "25P03")
LOCK_NOT_AVAILABLE = "55P03"
AWAY_CODES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}
PRIMARY_CODE = 0xFF


def database_is_away(error: BaseException) -> bool:
    """Say whether `error` means that the database was lost, and that the same may succeed later."""
    if isinstance(error, InterfaceError):
        return True
    if not isinstance(error, OperationalError):
        return False
    code = getattr(error.__cause__, "sqlite_errorcode", None)
    if code is not None:
        return code & PRIMARY_CODE in AWAY_CODES
    # psycopg gives no state to what never reached the server: refused, cut, timed out.
    state = getattr(error.__cause__, "sqlstate", None)
    return state is None or state.startswith(AWAY_STATES)


def lock_was_not_available(error: OperationalError) -> bool:
    """Say whether a row lock was waited for in vain."""
    return getattr(error.__cause__, "sqlstate", None) == LOCK_NOT_AVAILABLE
