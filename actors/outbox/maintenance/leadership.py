"""The queues that are watched over, and which process watches a queue at the moment.

Guarantee: one process at a time, by leases that the database's clock ends. `upkeep` takes them, `repair` writes down
under them what it has seen.
"""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import dramatiq
from django.db.models import Q
from django.db.models.functions import Now

from actors.outbox.models import OutboxMessage, State, WatchedQueue
from actors.outbox.worker.limits import work_queues


def queues_to_watch() -> list[str]:
    """Return the queues of this process's actors and of whatever is published, each of which has a row afterwards."""
    names = work_queues(dramatiq.get_broker()) | set(queues_published_to())
    unknown = names - set(WatchedQueue.objects.values_list("name", flat=True))
    WatchedQueue.objects.bulk_create([WatchedQueue(name=name) for name in sorted(unknown)], ignore_conflicts=True)
    return sorted(names)


def queues_published_to() -> Iterator[str]:
    """Yield the queues that have published messages: a leap through the index for each, however many messages wait."""
    published = OutboxMessage.objects.filter(state=State.PUBLISHED).order_by("queue").values_list("queue", flat=True)
    name = published.first()
    while name is not None:
        yield name
        name = published.filter(queue__gt=name).first()


def acquire_leadership(queue: str, *, token: UUID, seconds: float) -> bool:
    """Lease a queue, or lease it for longer; return False if it is another's."""
    free = Q(lease_until=None) | Q(lease_until__lt=Now()) | Q(lease_token=token)
    taken = WatchedQueue.objects.filter(free, name=queue)
    return bool(taken.update(lease_token=token, lease_until=Now() + timedelta(seconds=seconds)))


def resign(token: UUID) -> None:
    """Let somebody else watch at once."""
    WatchedQueue.objects.filter(lease_token=token).update(lease_token=None, lease_until=None)
