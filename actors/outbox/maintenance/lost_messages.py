"""Finds messages that RabbitMQ has lost, with its disk or by a purge, and has them published again.

Guarantee: what is published, owed and neither in RabbitMQ nor in a worker is published again, at a bounded rate; a
queue whose workers are merely stopped never grows. `upkeep` looks, `relay` publishes, `settlement` drops what was not
lost after all: a second copy of the same attempt.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from actors.outbox.models import OutboxMessage, State, WatchedQueue
from actors.outbox.wakeup import wake_relay_on_commit

logger = logging.getLogger(__name__)

MAX_REPAIRED = 1_000

Look = Callable[[str], int]
"""Tells how many messages wait in a queue that no worker has taken; asks RabbitMQ, so no transaction may be open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """What was known of a queue, and when by the database's clock, before somebody looked."""

    queue: str

    at: datetime

    seen_empty_at: datetime | None


def step(queue: str, *, token: UUID, look: Look, margin_seconds: float, at_most: int = MAX_REPAIRED) -> int:
    """Look at a queue, and have published again what is lost; return how many messages that are.

    A message is lost if its queue was seen empty after it was published, seen empty again a margin later, and it is
    still owed. Once is not enough: when the queue was seen empty the message may have been in a worker's hands. In a
    margin that is longer than a message stays there it has been settled, put off, or given back because its worker
    ended; and a queue that it was given back to is not empty while nobody works. That quorum queues tell their counts
    a little late makes no difference either after so long.

    Args:
        queue: one that is leased with `token`; without the lease nothing is done.
        token: the lease's.
        look: tells how many messages are ready.
        margin_seconds: from one sighting to the other.
        at_most: messages to publish again. If there may be more, the sighting is kept and the next step goes on.
    """
    sighting = _begin(WatchedQueue.objects.filter(name=queue, lease_token=token))
    if sighting is None or look(queue) > 0:
        return 0
    if sighting.seen_empty_at is None:
        _remember(sighting, token)
        return 0
    if sighting.at < sighting.seen_empty_at + timedelta(seconds=margin_seconds):
        return 0
    with transaction.atomic():
        count = _publish_again(queue, before=sighting.seen_empty_at, at_most=at_most)
        if count < at_most:
            _remember(sighting, token)
    return count


def repair_now(queue: str, *, look: Look, at_most: int = MAX_REPAIRED) -> int | None:
    """Have everything published again that was published before this call, if the queue is empty; return how many.

    For an operator who knows that a queue was lost and does not wait for a second sighting. What a worker has in its
    hands gets a second copy, which is dropped; what is held gets none.

    Returns:
        None if messages wait in the queue: which of them are lost, nobody can tell.
    """
    sighting = _begin(WatchedQueue.objects.filter(name=queue))
    if sighting is None:
        return 0
    if look(queue) > 0:
        return None
    total = 0
    while True:
        with transaction.atomic():
            count = _publish_again(queue, before=sighting.at, at_most=at_most)
        total += count
        if count < at_most:
            return total


def lost_rows(queue: str, *, before: datetime) -> QuerySet[OutboxMessage]:
    """Return what was published before a time, is still owed and is in nobody's hold."""
    unheld = Q(held_until=None) | Q(held_until__lt=Now())
    return OutboxMessage.objects.filter(unheld, queue=queue, state=State.PUBLISHED, published_at__lt=before)


def _begin(watched: QuerySet[WatchedQueue]) -> Sighting | None:
    # The time of the sighting is that before the look: what is published during it was not there to be seen.
    found = watched.annotate(now=Now()).values_list("name", "now", "seen_empty_at").first()
    return found and Sighting(queue=found[0], at=found[1], seen_empty_at=found[2])


def _remember(sighting: Sighting, token: UUID) -> None:
    unchanged = WatchedQueue.objects.filter(name=sighting.queue, lease_token=token)
    unchanged.filter(seen_empty_at=sighting.seen_empty_at).update(seen_empty_at=sighting.at)


def _publish_again(queue: str, *, before: datetime, at_most: int) -> int:
    lost = lost_rows(queue, before=before)
    # A locked row is being settled at this moment: it is not lost.
    found = list(
        lost.order_by("published_at").select_for_update(skip_locked=True).values_list("pk", flat=True)[:at_most]
    )
    count = lost.filter(pk__in=found).update(state=State.PENDING, due_at=Now(), published_at=None)
    if count:
        logger.warning("repaired queue=%s rows=%d", queue, count)
        wake_relay_on_commit()
    return count
