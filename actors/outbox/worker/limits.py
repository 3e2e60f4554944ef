"""How long a message may sit in a worker, unacknowledged: what repair waits for, and RabbitMQ's deadline must exceed.

Every queue's consumer takes `prefetch` messages ahead, all of them wait in one line, and `threads` serve it.
"""

from typing import Any

from django_dramatiq.management.commands.rundramatiq import NTHREADS
from dramatiq import Actor, Broker
from dramatiq.common import q_name
from dramatiq.middleware import TimeLimit
from dramatiq.worker import QUEUE_PREFETCH

from actors.outbox import conf
from actors.outbox.discovery import import_actors

MAX_PREFETCH = 65_535
# Of messages whose actors return rows: two shares, one that is settled and one that gathers.
SHARED_PREFETCH = 128
UNLIMITED = float("inf")
REPAIR_ALLOWANCE_SECONDS = 60.0


def max_unacked_seconds(broker: Broker, *, threads: int = NTHREADS, prefetch: int = QUEUE_PREFETCH) -> float:
    """Return how long a message may be in a worker before its actor has ended; infinite without a time limit.

    The one that comes last into a full worker waits until all before it have taken their longest, and then takes its
    own. This holds for actors of one priority: those of a lower one may wait for as long as there are others. A message
    that brings a `time_limit` option of its own, longer than every actor's, is not known here. Neither does harm: what
    is published again too early is dropped, because it is settled or being settled.

    Args:
        broker: its actors must have been imported (`discovery`).
        threads: of a worker process; `rundramatiq` takes it from `DRAMATIQ_NTHREADS`.
        prefetch: messages a queue; 0, like Dramatiq's `dramatiq_queue_prefetch`, is what `prefetch_of` says.
    """
    prefetched = sum(prefetch_of(broker, queue, threads=threads, prefetch=prefetch) for queue in work_queues(broker))
    limits = [time_limit_seconds(broker, actor) for actor in broker.actors.values()]
    # What was taken along with others, and was not begun, has waited for the one before it, and waits once more.
    taken_along = any(actor.options.get("returns_rows") for actor in broker.actors.values())
    return (prefetched / threads + 1 + taken_along) * max(limits, default=0.0)


def prefetch_of(broker: Broker, queue: str, *, threads: int = NTHREADS, prefetch: int = QUEUE_PREFETCH) -> int:
    """Return how many messages of a queue a worker process takes ahead.

    Twice the threads, as Dramatiq does: more would wait here while other processes have nothing to do. Not so where all
    actors of a queue return rows: those are quick, and the more there are the more batch a commit (`sharing`).
    """
    usual = min(2 * threads, MAX_PREFETCH)
    actors = [actor for actor in broker.actors.values() if q_name(actor.queue_name) == queue]
    batch = bool(actors) and all(actor.options.get("returns_rows") for actor in actors)
    return prefetch or (max(usual, SHARED_PREFETCH) if batch else usual)


def work_queues(broker: Broker) -> set[str]:
    """Return the queues of the broker's actors; a stub broker lists its queues of delays among them."""
    return {q_name(name) for name in broker.get_declared_queues()}


def time_limit_seconds(broker: Broker, actor: Actor[Any, Any]) -> float:
    """Return how long an actor may run."""
    usual = next((one.time_limit for one in broker.middleware if isinstance(one, TimeLimit)), None)
    if usual is None:
        return UNLIMITED
    return float(actor.options.get("time_limit", usual)) / 1000


def repair_after_seconds(broker: Broker) -> float:
    """Return how long after a queue was seen empty what was published before may be taken for lost.

    `OUTBOX_REPAIR_AFTER_SECONDS`, or a minute more than the longest stay; RabbitMQ itself ends one that exceeds its
    consumer timeout.
    """
    if (wanted := conf.repair_after_seconds()) is not None:
        return wanted
    import_actors()
    return min(max_unacked_seconds(broker), conf.consumer_timeout_seconds()) + REPAIR_ALLOWANCE_SECONDS
