"""Leadership: one process at a time does the upkeep of a queue.

Guarantee: a queue has one leader at a time, by a lease that expires by the database's clock. `upkeep` acquires the
leases; under them `lost_messages` records when it found a queue empty.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

import dramatiq
from django.db.models import Q
from django.db.models.functions import Now

from actors.outbox.models import OutboxMessage, State, WatchedQueue
from actors.outbox.worker.limits import work_queues


def queues_to_watch() -> list[str]:
    """Return the queues of this process's actors and of all published messages; each has a `WatchedQueue` row then."""
    ours = work_queues(dramatiq.get_broker())
    names = ours | set(queues_published_to(besides=ours))
    unknown = names - set(WatchedQueue.objects.values_list("name", flat=True))
    WatchedQueue.objects.bulk_create([WatchedQueue(name=name) for name in sorted(unknown)], ignore_conflicts=True)
    return sorted(names)


def queues_published_to(*, besides: Iterable[str] = ()) -> Iterator[str]:
    """Yield the queues that have published messages: one index lookup a queue, however many messages there are.

    Args:
        besides: queues that are passed over. Their index entries are not read: while a transaction holds an old
            snapshot, PostgreSQL keeps those of all messages that were published since.
    """
    published = OutboxMessage.objects.filter(state=State.PUBLISHED).order_by("queue").values_list("queue", flat=True)
    for start, end in pairwise(["", *sorted(besides), None]):
        before_end = published.filter(queue__lt=end) if end else published
        name = before_end.filter(queue__gt=start).first()
        while name is not None:
            yield name
            name = before_end.filter(queue__gt=name).first()


def acquire_leadership(queue: str, *, token: UUID, seconds: float) -> bool:
    """Become or remain a queue's leader for `seconds`; return False if another process leads.

    Args:
        queue: a queue that `queues_to_watch` has returned.
        token: the same for all leases of one process.
        seconds: from now on, by the database's clock.
    """
    free = Q(lease_until=None) | Q(lease_until__lt=Now()) | Q(lease_token=token)
    taken = WatchedQueue.objects.filter(free, name=queue)
    return bool(taken.update(lease_token=token, lease_until=Now() + timedelta(seconds=seconds)))


def resign(token: UUID) -> None:
    """End all leases of a process, so another one can become leader at once."""
    WatchedQueue.objects.filter(lease_token=token).update(lease_token=None, lease_until=None)
