"""Statistics for `manage.py outbox status`: counts and ages by state, and rates. Reads only."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import Error, connection
from django.db.models import Count, Min, Q
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from actors.outbox.models import OutboxMessage, State

# Every insert takes an id, even a rolled-back one. The table's highest id would not do: it falls as rows are settled.
LAST_ID = {
    "postgresql": "SELECT pg_sequence_last_value(pg_get_serial_sequence(%s, 'id')::regclass)",
    "sqlite": "SELECT seq FROM sqlite_sequence WHERE name = %s",
}


# The start of a message's age in each state: when it became due, was sent, was confirmed by RabbitMQ, died.
AGES_BEGIN = {
    State.PENDING: "due_at",
    State.SCHEDULED: "created_at",
    State.PUBLISHED: "published_at",
    State.DEAD: "died_at",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """How fast messages are sent and settled."""

    created: float
    """Messages a second."""

    settled: float
    """Messages a second; cancelled and discarded ones are counted too."""


def collect() -> dict[str, Any]:
    """Return the outbox's counts and oldest ages in seconds by state, dead letters by reason, and leases.

    `leased` counts the rows that a relay has claimed, `held` those under an execution lease.
    """
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


def describe_backlog() -> str:
    """Return how many messages wait to be published, and how many for a worker, as fields of a log line."""
    was_connected = connection.connection is not None
    due = Q(state=State.PENDING) | Q(state=State.SCHEDULED, due_at__lte=Now())
    try:
        waiting = OutboxMessage.objects.filter(due).count()
        published = OutboxMessage.objects.filter(state=State.PUBLISHED).count()
    except Error as error:
        return f"backlog=unknown error={str(error)!r}"
    finally:
        if not was_connected:
            connection.close()  # a consumer's thread keeps none
    return f"pending={waiting} published={published}"


def measure_rate(seconds: float, *, sleep: Callable[[float], None] = time.sleep) -> Rate:
    """Measure the rate over some seconds.

    Args:
        seconds: how long to measure.
        sleep: sleeps for that many seconds.
    """
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
