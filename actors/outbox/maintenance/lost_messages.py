"""Repair: finds messages that RabbitMQ confirmed and lost (with its disk, by a purge), to be published again.

Guarantee: a published, unsettled message that is neither in RabbitMQ nor in a worker is published again, at a bounded
rate, once its queue has been found empty twice, a margin apart. Repair adds no copies to a queue whose workers are
merely stopped. `upkeep` calls `step`, `relay` publishes; if a message was not lost after all, `worker.execution` drops
the second copy of the same attempt.
"""

import logging
from collections.abc import Callable
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
"""Returns how many messages in a queue are ready: not delivered to a worker. It queries RabbitMQ, so no transaction may
be open."""


def step(queue: str, *, token: UUID, look: Look, margin_seconds: float, at_most: int = MAX_REPAIRED) -> int:
    """Check a queue and have its lost messages published again.

    A message is lost if its queue was found empty after it was published, found empty again a margin later, and it is
    still unsettled. One check is not enough: the message may have been in a worker at that moment. Within a margin
    longer than a message may stay in a worker, it has been settled, rescheduled, or requeued because its worker ended;
    and a queue with a requeued message is not empty until a worker takes it. The short delay with which quorum queues
    report their counts is negligible beside the margin.

    Args:
        queue: a queue leased with `token`; without the lease nothing is done.
        token: the lease's.
        look: returns how many messages are ready.
        margin_seconds: the shortest time between the two checks.
        at_most: messages to publish again. If there may be more, the first check still counts in the next step.

    Returns:
        How many messages are to be published again.
    """
    watched = WatchedQueue.objects.filter(name=queue, lease_token=token)
    now, seen_empty_at = _read_check(watched)
    if now is None or look(queue) > 0:
        return 0
    # A conditional update: a leader that was replaced since changes nothing.
    unchanged = watched.filter(seen_empty_at=seen_empty_at)
    if seen_empty_at is None:
        unchanged.update(seen_empty_at=now)
        return 0
    if now < seen_empty_at + timedelta(seconds=margin_seconds):
        return 0
    with transaction.atomic():
        count = _publish_again(queue, before=seen_empty_at, at_most=at_most)
        if count < at_most:
            unchanged.update(seen_empty_at=now)
    return count


def repair_now(queue: str, *, look: Look, at_most: int = MAX_REPAIRED) -> int | None:
    """If the queue is empty, have everything published again that was published before this call.

    For operators who know that a queue was lost, and need not wait for a second check. A message in a worker gets a
    second copy, which is dropped; a row under an execution lease is skipped.

    Args:
        queue: the queue to repair.
        look: returns how many messages are ready.
        at_most: messages in one transaction.

    Returns:
        How many messages are to be published again; None if the queue is not empty: then it is unknown which
        messages are lost.
    """
    now, _seen_empty_at = _read_check(WatchedQueue.objects.filter(name=queue))
    if now is None:
        return 0
    if look(queue) > 0:
        return None
    total = 0
    while True:
        with transaction.atomic():
            count = _publish_again(queue, before=now, at_most=at_most)
        total += count
        if count < at_most:
            return total


def _read_check(watched: QuerySet[WatchedQueue]) -> tuple[datetime | None, datetime | None]:
    """Return the database's time, and when the queue was last seen empty; None for a queue that is not watched.

    Read before the queue is counted: a message published in between may be missing from the count.
    """
    return watched.annotate(now=Now()).values_list("now", "seen_empty_at").first() or (None, None)


def _publish_again(queue: str, *, before: datetime, at_most: int) -> int:
    unheld = Q(held_until=None) | Q(held_until__lt=Now())
    lost = OutboxMessage.objects.filter(unheld, queue=queue, state=State.PUBLISHED, published_at__lt=before)
    # A locked row is being settled, so it is not lost.
    found = list(
        lost.order_by("published_at").select_for_update(skip_locked=True).values_list("pk", flat=True)[:at_most]
    )
    count = lost.filter(pk__in=found).update(state=State.PENDING, due_at=Now(), published_at=None)
    if count:
        logger.warning("repaired queue=%s rows=%d", queue, count)
        wake_relay_on_commit()
    return count
