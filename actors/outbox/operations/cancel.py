"""Cancels messages: deletes rows that no relay has begun to publish, so that their work is not owed any more.

Guarantee: a cancelled message never runs, and a message that could not be cancelled is unchanged. Used by
`manage.py outbox cancel` and the admin.
"""

from collections import Counter
from collections.abc import Iterator

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from actors.outbox.models import AWAITING, OutboxMessage, State

BATCH = 1_000

IN_RABBITMQ = "already in RabbitMQ: a worker runs it"
DEAD = "dead: `manage.py deadletters discard` decides on it"
IN_HAND = "being published or settled at this moment"


def cancel(rows: QuerySet[OutboxMessage]) -> int:
    """Delete the rows among `rows` that are pending or scheduled and under no lease; return how many."""
    return sum(_delete(batch) for batch in _batches(rows))


def why_not(rows: QuerySet[OutboxMessage]) -> Counter[str]:
    """Return why rows are left after `cancel`: the number of rows for each reason."""
    reasons = {State.PUBLISHED.value: IN_RABBITMQ, State.DEAD.value: DEAD}
    return Counter(reasons.get(state, IN_HAND) for state in rows.values_list("state", flat=True).iterator())


def _batches(rows: QuerySet[OutboxMessage]) -> Iterator[list[int]]:
    ids = list(_cancellable(rows).order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def _cancellable(rows: QuerySet[OutboxMessage]) -> QuerySet[OutboxMessage]:
    unleased = Q(lease_until=None) | Q(lease_until__lt=Now())
    # A row under an execution lease runs at the moment: another copy of it met the lease and was rescheduled.
    unheld = Q(held_until=None) | Q(held_until__lt=Now())
    return rows.filter(unleased, unheld, state__in=AWAITING)


def _delete(ids: list[int]) -> int:
    with transaction.atomic():
        # Checked again under the lock: a relay may have claimed a row since.
        rows = _cancellable(OutboxMessage.objects.filter(pk__in=ids))
        mine = list(rows.order_by("pk").select_for_update(skip_locked=True).values_list("pk", flat=True))
        return OutboxMessage.objects.filter(pk__in=mine).delete()[0]
