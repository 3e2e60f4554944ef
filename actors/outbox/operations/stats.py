"""Takes stock of the outbox for `manage.py outbox status`: what is where, since when, how fast it moves. Reads only."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Count, Min, Q
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from actors.outbox.models import OutboxMessage, State

# Ids are handed out for every send, rolled back or not; the table's highest id falls as rows are settled.
LAST_ID = {
    "postgresql": "SELECT pg_sequence_last_value(pg_get_serial_sequence(%s, 'id')::regclass)",
    "sqlite": "SELECT seq FROM sqlite_sequence WHERE name = %s",
}


# Since when a message is where it is: due, since it was sent, in RabbitMQ, dead.
AGES_BEGIN = {
    State.PENDING: "due_at",
    State.SCHEDULED: "created_at",
    State.PUBLISHED: "published_at",
    State.DEAD: "died_at",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """How fast messages came and went."""

    created: float
    """A second."""

    settled: float
    """A second; cancelled and discarded ones are counted too."""


def collect() -> dict[str, Any]:
    """Return the counts and ages, in seconds, of what is in the outbox."""
    rows = OutboxMessage.objects.all()
    begun = (Min(column, filter=Q(state=state)) for state, column in AGES_BEGIN.items())
    oldest = Coalesce(*begun, Min("created_at"))
    states = {row["state"]: row for row in rows.values("state").annotate(count=Count("pk"), oldest=oldest)}
    reasons = rows.filter(state=State.DEAD).values_list("reason").annotate(count=Count("pk")).order_by("-count")
    return {
        "states": {state.value: _summary(states.get(state.value)) for state in State},
        "dead": {reason or "unknown": count for reason, count in reasons},
        "leased": rows.filter(lease_until__gte=Now()).count(),
        "held": rows.filter(held_until__gte=Now()).count(),
    }


def measure_rate(seconds: float, *, sleep: Callable[[float], None] = time.sleep) -> Rate:
    """Watch the outbox for some seconds."""
    began, first_id, first_count = time.monotonic(), _last_id(), OutboxMessage.objects.count()
    sleep(seconds)
    created, grown = _last_id() - first_id, OutboxMessage.objects.count() - first_count
    lasted = max(time.monotonic() - began, seconds)
    return Rate(created=created / lasted, settled=max(0, created - grown) / lasted)


def _summary(row: Mapping[str, Any] | None) -> dict[str, Any]:
    if row is None:
        return {"count": 0, "oldest_seconds": None}
    return {"count": row["count"], "oldest_seconds": max(0.0, (timezone.now() - row["oldest"]).total_seconds())}


def _last_id() -> int:
    with connection.cursor() as cursor:
        cursor.execute(LAST_ID[connection.vendor], [OutboxMessage._meta.db_table])
        found = cursor.fetchone()
    return int(found[0] or 0) if found else 0
