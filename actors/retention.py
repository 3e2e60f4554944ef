"""Prunes the activity log, the one way in which rows leave it.

Guarantee: what is deleted is the beginning of each task's history, never its middle, and the horizon is recorded in the
same transaction, for `activity verify` to begin there. PostgreSQL's trigger lets the deletion through for a setting
that ends with the transaction.
"""

from datetime import datetime
from typing import Any

from django.db import connection, transaction

from actors.models import ActivityHorizon

SETTING = "vazifa.prunes_activity"


def prune(before: datetime) -> int:
    """Delete what happened before a time; return how many rows that were.

    Times of one task's events are in the order of its versions: each is written while its row is locked.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT set_config(%s, 'on', true)", [SETTING])
        cursor.execute("DELETE FROM actors_activity WHERE occurred_at < %s", [_adapted(before)])
        deleted: int = cursor.rowcount
        ActivityHorizon.objects.create(before=before, deleted=deleted)
        if connection.vendor == "postgresql":
            cursor.execute("SELECT set_config(%s, '', true)", [SETTING])
    return deleted


def _adapted(moment: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(moment)
