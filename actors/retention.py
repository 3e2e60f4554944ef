"""Prunes the activity log. Rows are deleted from it in no other way.

Guarantee: only the beginning of a task's history is deleted, never its middle, and the horizon is recorded in the same
transaction; `manage.py activity verify` begins there. PostgreSQL's trigger, which refuses other deletions, is
suspended by a setting that ends with the transaction.
"""

from datetime import datetime

from django.db import connection, transaction

from actors.models import ActivityHorizon
from actors.outbox.store import NUMBERED

SETTING = "vazifa.prunes_activity"
# An event is kept if an earlier version of its task is kept (an event that a repair sent again may be younger than its
# successors) or is not logged yet.
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
    """Delete the events before a time that leave no gap, and record the horizon; return how many were deleted."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT set_config(%s, 'on', true)", [SETTING])
        cursor.execute(DELETE, {"before": connection.ops.adapt_datetimefield_value(before)})
        deleted: int = cursor.rowcount
        ActivityHorizon.objects.create(before=before, deleted=deleted)
        if connection.vendor == "postgresql":
            cursor.execute("SELECT set_config(%s, '', true)", [SETTING])
    return deleted
