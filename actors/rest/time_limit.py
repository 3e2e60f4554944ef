"""Limits how long the database works on a statement that a request executes; of both APIs, the admin and all else.

Guarantee: only in a thread, and from the beginning of a request to its end: the relay, upkeep and the stream's reader
have threads and connections of their own, without a limit. `lift` ends it for the rest of a request that streams.

PostgreSQL counts the time of each statement (`statement_timeout`); a session is told once, when it is new or first used
by a request, and not at each request. SQLite works in the thread itself: there the processor time of the whole request
counts, without the waits for locks and clients, and is looked at after every `OPERATIONS` steps.
"""

import threading
import time

from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

CANCELED = "57014"  # SQLSTATE
INTERRUPTED = "SQLITE_INTERRUPT"
OPERATIONS = 10_000


class _Request(threading.local):
    seconds = 0.0
    """The limit of the request that this thread answers; 0 for none."""
    started_at = 0.0


_request = _Request()


def begin(seconds: float) -> None:
    """Limit the statements of this thread from now on; 0 for no limit."""
    _request.seconds, _request.started_at = seconds, time.thread_time()
    for database in connections.all(initialized_only=True):
        # In a transaction, as a test's, the setting would not last.
        if database.connection is not None and not database.in_atomic_block:
            _limit(database)


def end() -> None:
    """Limit this thread's statements no longer. An open connection keeps its limit: only requests use it."""
    _request.seconds = 0.0


def current() -> float:
    """Return the limit of this thread's request, in seconds."""
    return _request.seconds


def renew() -> None:
    """Begin to count anew, for the next piece of a response that is streamed."""
    _request.started_at = time.thread_time()


def lift() -> None:
    """End the limit for the rest of this request, which streams for as long as its client reads."""
    end()
    database = connections[DEFAULT_DB_ALIAS]
    if getattr(database, "limited_to", 0.0) and not database.in_atomic_block:
        database.close()


def limit_new(connection: BaseDatabaseWrapper, **_signal: object) -> None:
    """Set the limit in a session that is new: a receiver of `connection_created`."""
    if connection.vendor == "sqlite":
        connection.connection.set_progress_handler(_is_over, OPERATIONS)
    connection.limited_to = 0.0  # type: ignore[attr-defined]
    _limit(connection)


def is_exceeded(error: BaseException) -> bool:
    """Return whether a statement was cancelled because of a limit, or by an operator."""
    cause = error.__cause__
    return getattr(cause, "sqlstate", "") == CANCELED or getattr(cause, "sqlite_errorname", "") == INTERRUPTED


def _limit(database: BaseDatabaseWrapper) -> None:
    """Set the limit of this thread's request in a PostgreSQL session, unless it is set already."""
    if database.vendor != "postgresql" or getattr(database, "limited_to", 0.0) == _request.seconds:
        return
    try:
        # Not by a cursor of Django's, which would count it among a request's queries.
        with database.wrap_database_errors:
            database.connection.execute(f"SET statement_timeout = {round(_request.seconds * 1_000)}", prepare=False)
    except Error:
        database.close()  # a next statement would run without a limit; a new session gets one
    else:
        database.limited_to = _request.seconds  # type: ignore[attr-defined]


def _is_over() -> bool:
    return bool(_request.seconds) and time.thread_time() - _request.started_at > _request.seconds
