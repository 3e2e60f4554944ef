"""The settings of a database session: set in each new PostgreSQL session.

Guarantee: no statement of the service runs in a PostgreSQL session without `OUTBOX_POSTGRESQL_SESSION`, whatever the
server's, the role's and the database's own settings are, also through a pooler that gives each client its own session.
Only what `options` in Django's `OPTIONS` sets takes precedence. `apps` connects `configure`.
"""

import json
import re
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from actors.outbox.conf import conf

SET = "SELECT set_config(key, value, false) FROM json_each_text(%s)"
# In `options`: -c name=value, --name=value.
GIVEN = re.compile(r"(?:-c\s*|--)([\w.-]+)=")


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


def _given(database: BaseDatabaseWrapper) -> set[str]:
    """Return the names of the settings that Django's `OPTIONS` give as start-up parameters."""
    options = str(database.settings_dict["OPTIONS"].get("options", ""))
    return {name.replace("-", "_").lower() for name in GIVEN.findall(options)}
