"""Cancels messages that nobody has begun to publish: their work is not owed any more.

Guarantee: a cancelled message never runs, and one that could not be cancelled is as it was. `manage.py outbox cancel`
and the admin are its users.
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
    """Delete those of the rows that wait for their relay, and return how many they were."""
    return sum(_delete(batch) for batch in _batches(rows))


def why_not(rows: QuerySet[OutboxMessage]) -> Counter[str]:
    """Say of rows that are left after `cancel` why they are: how many for which reason."""
    reasons = {State.PUBLISHED.value: IN_RABBITMQ, State.DEAD.value: DEAD}
    return Counter(reasons.get(state, IN_HAND) for state in rows.values_list("state", flat=True).iterator())


def _batches(rows: QuerySet[OutboxMessage]) -> Iterator[list[int]]:
    ids = list(_cancellable(rows).order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def _cancellable(rows: QuerySet[OutboxMessage]) -> QuerySet[OutboxMessage]:
    unleased = Q(lease_until=None) | Q(lease_until__lt=Now())
    # What is held runs at this moment: a copy of it met the hold and was put off.
    unheld = Q(held_until=None) | Q(held_until__lt=Now())
    return rows.filter(unleased, unheld, state__in=AWAITING)


def _delete(ids: list[int]) -> int:
    with transaction.atomic():
        # Asked again under the lock: a relay may have taken a row since.
        rows = _cancellable(OutboxMessage.objects.filter(pk__in=ids))
        mine = list(rows.order_by("pk").select_for_update(skip_locked=True).values_list("pk", flat=True))
        return OutboxMessage.objects.filter(pk__in=mine).delete()[0]
