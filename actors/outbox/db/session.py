"""The settings of a database session: set in each new PostgreSQL session, and compared with what is in force.

Guarantee: no statement of the service runs in a PostgreSQL session without `OUTBOX_POSTGRESQL_SESSION`, which
overrides the settings of server, role and database, also through a pooler that gives each client its own session.
Only what `options` in Django's `OPTIONS` sets takes precedence. `apps` connects `configure`; `checks`, `manage.py
relay` and `background`, at the start of a process, report what does not hold.
"""

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 – Django's names
from django.db import DatabaseError, InterfaceError, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from actors.outbox.conf import conf
from actors.outbox.db.errors import is_operational

logger = logging.getLogger(__name__)

SET = "SELECT set_config(key, value, false) FROM json_each_text(%s)"
# Without a server's address the connection is a Unix socket, which has no keepalives.
IN_FORCE = """
SELECT name, setting, source = 'client' FROM pg_settings
WHERE name = ANY(%s) AND (name NOT LIKE 'tcp%%' OR inet_server_addr() IS NOT NULL)
"""
# In `options`: -c name=value, --name=value.
GIVEN = re.compile(r"(?:-c\s*|--)([\w.-]+)=")

CRASH = "a crash of the database's machine can lose committed work"
LATE = "the row locks of a client that vanishes can outlast it for longer"
DURABLE = {
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "synchronous_commit": ("on", "local", "remote_write", "remote_apply"),
}
SQLITE = {"journal_mode": ("wal", "memory"), "synchronous": ("2", "3"), "foreign_keys": ("1",)}
# What is not guaranteed if a setting has another value; otherwise `LATE`.
CONSEQUENCES = {
    **dict.fromkeys((*DURABLE, "synchronous"), CRASH),
    "default_transaction_isolation": "concurrent changes fail instead of waiting for one another",
    "plan_cache_mode": "lists can be read by plans that were made for other values",
    "journal_mode": "readers and writers block one another",
    "foreign_keys": "rows can refer to rows that do not exist",
    "transaction_mode": "a transaction that writes late fails with 'database is locked'",
}

SHARED = "A pooler shares database sessions between connections: settings and prepared statements do not hold."
SHARED_HINT = 'Set PgBouncer\'s pool_mode to "session" for this database, or connect to PostgreSQL directly.'
UNAVAILABLE_HINT = "Start it, or correct DATABASES; a pooler has to admit two connections of this process."
REFUSED_HINT = "Correct OUTBOX_POSTGRESQL_SESSION and OPTIONS of DATABASES."
ROUNDS = 3


def configure(connection: BaseDatabaseWrapper, **_signal: Any) -> None:
    """Set `OUTBOX_POSTGRESQL_SESSION` in a new session, in one round trip; does nothing on SQLite.

    By a statement: poolers refuse the start-up parameter `options`, or ignore it.
    """
    if connection.vendor != "postgresql":
        return
    given = _given(connection)
    settings = {name: value for name, value in conf.OUTBOX_POSTGRESQL_SESSION.items() if name not in given}
    try:
        with connection.cursor() as cursor:
            cursor.execute(SET, [json.dumps(settings)])
    except BaseException:
        connection.close()  # a next statement would run without them
        raise


def problems() -> Iterator[CheckMessage]:
    """Look at what is in force in this thread's database session, and yield what is therefore not guaranteed."""
    try:
        if connection.vendor != "postgresql":
            yield from _problems_of_sqlite()
        elif shares_sessions():
            yield Error(SHARED, hint=SHARED_HINT, id="outbox.E006")
        else:
            yield from _problems_of_postgresql()
    except (DatabaseError, InterfaceError) as error:
        if is_operational(error):
            yield Error(f"The database is unavailable: {error}.", hint=UNAVAILABLE_HINT, id="outbox.E007")
        else:
            yield Error(f"The database refuses the session: {error}.", hint=REFUSED_HINT, id="outbox.E007")


def report() -> None:
    """Log `problems`, at the start of a process; closes this thread's connection."""
    for problem in problems():
        logger.log(problem.level, "%s %s", problem.msg, problem.hint)
    connection.close()


def shares_sessions() -> bool:
    """Return whether a pooler runs statements of one connection in several sessions, or those of two in the same.

    PgBouncer takes the server that was released last, or by `server_round_robin` the first. Both show, by a session
    that two connections share or by one that changes, unless other clients are in between: hence `ROUNDS`.
    """
    other = connection.copy()
    try:
        for _ in range(ROUNDS):
            mine = {_session_id(connection), _session_id(connection)}
            if len(mine) > 1 or _session_id(other) in mine:
                return True
    finally:
        other.close()
    return False


def _session_id(database: BaseDatabaseWrapper) -> int:
    database.ensure_connection()
    with database.wrap_database_errors:
        # Without a prepared statement, which another session would not know.
        return int(database.connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone()[0])


def _given(database: BaseDatabaseWrapper) -> set[str]:
    """Return the names of the settings that Django's `OPTIONS` give as start-up parameters."""
    options = str(database.settings_dict["OPTIONS"].get("options", ""))
    return {name.replace("-", "_").lower() for name in GIVEN.findall(options)}


def _problems_of_postgresql() -> Iterator[CheckMessage]:
    wanted = {name: (str(value),) for name, value in conf.OUTBOX_POSTGRESQL_SESSION.items()} | DURABLE
    given = _given(connection)
    with connection.cursor() as cursor:
        cursor.execute(IN_FORCE, [sorted(wanted.keys() | given)])
        for name, value, arrived in cursor.fetchall():
            yield from _compare(name, value, wanted.get(name, (value,)))
            if name in given and not arrived:
                text = f"{name} in OPTIONS['options'] of DATABASES does not reach PostgreSQL: a pooler drops it."
                yield Warning(text, hint=f"Set it for the role: ALTER ROLE … SET {name}.", id="outbox.W002")


def _problems_of_sqlite() -> Iterator[CheckMessage]:
    mode = str(connection.settings_dict["OPTIONS"].get("transaction_mode", "DEFERRED")).upper()
    yield from _compare("transaction_mode", mode, ("IMMEDIATE", "EXCLUSIVE"))
    with connection.cursor() as cursor:
        for name, wanted in SQLITE.items():
            yield from _compare(name, str(cursor.execute(f"PRAGMA {name}").fetchone()[0]), wanted)


def _compare(name: str, value: str, wanted: tuple[str, ...]) -> Iterator[CheckMessage]:
    if value not in wanted:
        text = f"The database's {name} is {value}, not {wanted[0]}: {CONSEQUENCES.get(name, LATE)}."
        yield Warning(
            text, hint="Change it in OPTIONS of DATABASES, or in the database's configuration.", id="outbox.W001"
        )
