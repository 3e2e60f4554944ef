"""Locks on names, until the end of the transaction; on SQLite a transaction that writes is itself the lock."""

from hashlib import sha256

from django.db import connection


def lock(name: str) -> None:
    """Wait for a name."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_number(name)])


def try_lock(name: str) -> bool:
    """Lock a name, unless somebody else has it; on SQLite, where it has been waited for, always."""
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_number(name)])
        return bool(cursor.fetchone()[0])


def lock_history(task_id: int) -> None:
    """Wait until nobody else ends or begins a task of this id; to be called after its row was locked, if it has one."""
    lock(f"history of task:{task_id}")


def _number(name: str) -> int:
    return int.from_bytes(sha256(name.encode()).digest()[:8], "big", signed=True)
