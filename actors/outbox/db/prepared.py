"""Cursors for statements that every create executes: PostgreSQL parses and plans them once a connection, not each time.

Django writes parameters into the text of a statement, so that no two are alike to the server. With the parameters
beside the text, an INSERT of a task and one of its message take PostgreSQL three quarters of the time.
"""

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections


def prepared_cursor(using: str = DEFAULT_DB_ALIAS) -> Any:
    """Return a cursor of Django's, also to be closed by `with`, whose statements have to be the same text every time.

    It is a cursor like any other on other databases than PostgreSQL, and while queries are logged: of one that is
    prepared Django's log knows no text.
    """
    # Itself, not a proxy that looks it up for each of its attributes.
    connection: Any = connections[using]
    if connection.vendor != "postgresql" or connection.queries_logged:
        return connection.cursor()
    from django.db.backends.postgresql.base import ServerBindingCursor

    connection.ensure_connection()
    with connection.wrap_database_errors:
        cursor = ServerBindingCursor(connection.connection)  # type: ignore[call-arg]
    return connection._prepare_cursor(cursor)
