"""Advisory locks on names, held until the end of the transaction.

On SQLite they do nothing: a transaction that writes already has the database to itself.
"""

from hashlib import sha256

from django.db import connection


def lock(name: str) -> None:
    """Lock a name; wait while another transaction has it."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_number(name)])


def try_lock(name: str) -> bool:
    """Lock a name, or return False if another transaction has it; on SQLite, whose write lock waits, always True."""
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_number(name)])
        return bool(cursor.fetchone()[0])


def lock_chosen_ids() -> None:
    """Wait until no other transaction creates tasks whose ids are chosen, not drawn: one lock for all of them."""
    lock("tasks with chosen ids")


def _number(name: str) -> int:
    return int.from_bytes(sha256(name.encode()).digest()[:8], "big", signed=True)
