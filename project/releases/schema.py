"""Compares the database's migrations with those of this release, when a process starts.

Guarantee: no web process answers and no worker runs a message on a database that lacks a migration of its code; each
says what is missing and exits. A database with more of them, those of the next release, is served: it is so during an
upgrade and on the way back. A database that cannot be reached keeps no process from starting.
"""

import logging
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from django.core import checks
from django.db import DEFAULT_DB_ALIAS, Error, connection
from django.db.migrations.loader import MigrationLoader
from dramatiq import Broker, Middleware

logger = logging.getLogger(__name__)

# gunicorn's master ends at this status; at others it would start the process again, at once and for ever.
NOT_STARTED = 3
# A new database lacks all of them.
MAX_NAMED = 5
HINT = "Run manage.py migrate with this release. Until then its web processes and workers do not start."


class Difference(NamedTuple):
    """The migrations, as `application.name`, that only one side has."""

    missing: list[str]
    """Those that the database lacks."""

    later: list[str]
    """Those that this code does not know."""


class RequireMigrations(Middleware):
    """Middleware that ends a worker process whose database lacks migrations, before it consumes."""

    def after_process_boot(self, broker: Broker) -> None:
        require_migrations()


def difference() -> Difference:
    """Compare the default database's migrations with the code's.

    Raises:
        django.db.Error: the database cannot be asked.
    """
    loader = MigrationLoader(connection)
    applied = set(loader.applied_migrations)
    later = {key for key in applied - set(loader.disk_migrations) if key[0] in loader.migrated_apps}
    return Difference(_named(set(loader.graph.nodes) - applied), _named(later))


def require_migrations() -> None:
    """Log what the database lacks and exit, or log what it has more than this code; closes this thread's connection.

    Raises:
        SystemExit: the database lacks migrations.
    """
    try:
        found = difference()
    except Error:  # the outbox says so, and web and workers bear it
        return
    finally:
        connection.close()
    if found.missing:
        logger.critical("not started: the database lacks %s. %s", _listed(found.missing), HINT)
        sys.exit(NOT_STARTED)
    if found.later:
        logger.info("the database has migrations of a later release: %s", _listed(found.later))


def check_migrations(*, databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Compare the migrations; only if the default database is among `databases`."""
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    try:
        found = difference()
    except Error:  # outbox.E007
        return []
    problems: list[checks.CheckMessage] = []
    if found.missing:
        text = f"The database lacks migrations of this release: {_listed(found.missing)}."
        problems.append(checks.Warning(text, hint=HINT, id="vazifa.W003"))
    if found.later:
        text = f"The database has migrations of a later release: {_listed(found.later)}."
        hint = "This release runs on it if it is the one before. An older one has to be upgraded step by step."
        problems.append(checks.Info(text, hint=hint, id="vazifa.I001"))
    return problems


def _listed(names: list[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _named(keys: set[tuple[str, str]]) -> list[str]:
    return sorted(f"{application}.{name}" for application, name in keys)
