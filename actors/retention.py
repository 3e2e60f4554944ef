"""Prunes the activity log, the one way in which rows leave it.

Guarantee: what is deleted is the beginning of each task's history, never its middle, and the horizon is recorded in the
same transaction, for `activity verify` to begin there. PostgreSQL's trigger lets the deletion through for a setting
that ends with the transaction.
"""

from datetime import datetime
from typing import Any

from django.db import connection, transaction

from actors.models import ActivityHorizon
from actors.outbox.store import NUMBERED

SETTING = "vazifa.prunes_activity"
# Not what comes after an event that is kept, which one that a repair has sent again may be, or that is not logged yet.
DELETE = f"""
DELETE FROM actors_activity WHERE occurred_at < %(before)s AND NOT EXISTS (
    SELECT 1 FROM actors_activity AS kept
    WHERE kept.task_id = actors_activity.task_id AND kept.version < actors_activity.version
    AND kept.occurred_at >= %(before)s
) AND NOT EXISTS (
    SELECT 1 FROM ({NUMBERED}) AS owed
    WHERE owed.subject = 'task:' || actors_activity.task_id AND owed.sequence < actors_activity.version
)
"""  # noqa: S608 – a constant


def prune(before: datetime) -> int:
    """Delete what happened before a time; return how many rows that were."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT set_config(%s, 'on', true)", [SETTING])
        cursor.execute(DELETE, {"before": _adapted(before)})
        deleted: int = cursor.rowcount
        ActivityHorizon.objects.create(before=before, deleted=deleted)
        if connection.vendor == "postgresql":
            cursor.execute("SELECT set_config(%s, '', true)", [SETTING])
    return deleted


def _adapted(moment: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(moment)
