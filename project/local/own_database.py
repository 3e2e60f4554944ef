"""Whether this project made a database, on this machine: asked of the open connection, never of its address.

An address may say loopback and lead elsewhere, by `?host=`, by PGHOST or through a tunnel.
Guarantee: a database that was made by another program, or that is reached elsewhere, is not taken for an own one. The
mark of an SQLite file travels with its copies.
"""

from django.db.backends.base.base import BaseDatabaseWrapper

from project.local.servers.postgresql import MARK, made_here

# "Vazi", in the header of an SQLite file: PRAGMA application_id is for this.
APPLICATION_ID = 0x56617A69


def claim_if_new(connection: BaseDatabaseWrapper) -> None:
    """Mark an SQLite database that has no table yet: it is made now. Call it before the tables are made."""
    if connection.vendor == "sqlite" and not connection.introspection.table_names():
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def is_own(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the database was made by `claim_if_new`, or is of a private PostgreSQL server of this machine."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA application_id")
            return bool(cursor.fetchone() == (APPLICATION_ID,))
        if connection.vendor == "postgresql":
            # Where the role may not see a setting, and where there is none, both are NULL and not an error.
            directory = "SELECT setting FROM pg_settings WHERE name = 'data_directory'"
            cursor.execute(f"SELECT current_setting(%s, true), ({directory})", [MARK])
            return made_here(*cursor.fetchone())
    return False
