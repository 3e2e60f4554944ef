"""Cancels messages: deletes rows that no relay has begun to publish, so their work is dropped.

Guarantee: a cancelled message never runs, and a message that cannot be cancelled is unchanged. Used by
`manage.py outbox cancel` and the admin.
"""

from collections import Counter

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from actors.outbox.models import AWAITING, OutboxMessage, State

IN_RABBITMQ = "already in RabbitMQ: a worker runs it"
DEAD = "dead: `manage.py deadletters discard` decides on it"
IN_HAND = "being published or settled at this moment"


def cancel(rows: QuerySet[OutboxMessage]) -> int:
    """Delete the rows among `rows` that are pending or scheduled and under no lease; return how many."""
    unleased = Q(lease_until=None) | Q(lease_until__lt=Now())
    # A row under an execution lease is running: another copy of its message met the lease and was rescheduled.
    unheld = Q(held_until=None) | Q(held_until__lt=Now())
    with transaction.atomic():
        # A row that a relay is claiming is locked, and skipped.
        mine = rows.filter(unleased, unheld, state__in=AWAITING).select_for_update(skip_locked=True)
        return OutboxMessage.objects.filter(pk__in=mine.values("pk")).delete()[0]


def why_not(rows: QuerySet[OutboxMessage]) -> Counter[str]:
    """Return why rows are left after `cancel`: the number of rows for each reason."""
    reasons = {State.PUBLISHED.value: IN_RABBITMQ, State.DEAD.value: DEAD}
    return Counter(reasons.get(state, IN_HAND) for state in rows.values_list("state", flat=True).iterator())
