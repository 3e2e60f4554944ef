"""How many messages a worker prefetches, and how long a message may stay unacknowledged in a worker.

Repair waits for longer than that, and RabbitMQ's consumer timeout has to exceed it. The consumer of each queue
prefetches messages; all of them wait in one work queue, which is served by `threads` threads.
"""

from typing import Any

from django_dramatiq.management.commands.rundramatiq import NTHREADS
from dramatiq import Actor, Broker
from dramatiq.common import q_name
from dramatiq.middleware import TimeLimit
from dramatiq.worker import QUEUE_PREFETCH

from actors.outbox.conf import conf
from actors.outbox.discovery import import_actors

MAX_PREFETCH = 65_535
# For a queue whose actors return rows: two batches (`batch.MAX_BATCH`), one running and one waiting.
BATCH_PREFETCH = 128
UNLIMITED = float("inf")
REPAIR_ALLOWANCE_SECONDS = 60.0


def max_unacked_seconds(broker: Broker, *, threads: int = NTHREADS, prefetch: int = QUEUE_PREFETCH) -> float:
    """Return how long a message may be in a worker before its actor has ended, in seconds; infinite without a limit.

    The last message of a full worker waits until all before it have used up their time limits, and then uses its own.
    Two cases exceed this: actors of a lower priority may wait for as long as there are messages of a higher one, and a
    message may have a `time_limit` option longer than every actor's. Neither does harm: the copy of a message that is
    published again too early is dropped, because the message is settled or being settled.

    Args:
        broker: a broker whose actors have been imported (`discovery`).
        threads: worker threads of a process; `rundramatiq` takes the number from `DRAMATIQ_NTHREADS`.
        prefetch: messages a queue; with 0, like Dramatiq's `dramatiq_queue_prefetch`, `prefetch_of` decides.
    """
    prefetched = sum(prefetch_of(broker, queue, threads=threads, prefetch=prefetch) for queue in work_queues(broker))
    limits = [time_limit_seconds(broker, actor) for actor in broker.actors.values()]
    # A message that was taken into a batch and given back has waited for the run before it, and waits for another.
    may_be_given_back = any(actor.options.get("returns_rows") for actor in broker.actors.values())
    return (prefetched / threads + 1 + may_be_given_back) * max(limits, default=0.0)


def prefetch_of(broker: Broker, queue: str, *, threads: int = NTHREADS, prefetch: int = QUEUE_PREFETCH) -> int:
    """Return how many messages of a queue a worker process prefetches.

    Twice the threads, as in Dramatiq: more would wait here while other processes are idle. A queue whose actors all
    return rows has at least `BATCH_PREFETCH`: they are quick, and a longer queue makes larger batches (`batch`).
    """
    usual = min(2 * threads, MAX_PREFETCH)
    actors = [actor for actor in broker.actors.values() if q_name(actor.queue_name) == queue]
    all_return_rows = bool(actors) and all(actor.options.get("returns_rows") for actor in actors)
    return prefetch or (max(usual, BATCH_PREFETCH) if all_return_rows else usual)


def work_queues(broker: Broker) -> set[str]:
    """Return the queues of the broker's actors, without the delay queues that a stub broker lists beside them."""
    return {q_name(name) for name in broker.get_declared_queues()}


def time_limit_seconds(broker: Broker, actor: Actor[Any, Any]) -> float:
    """Return how long an actor may run, in seconds; infinite without the TimeLimit middleware."""
    usual = next((one.time_limit for one in broker.middleware if isinstance(one, TimeLimit)), None)
    if usual is None:
        return UNLIMITED
    return float(actor.options.get("time_limit", usual)) / 1000


def repair_after_seconds(broker: Broker) -> float:
    """Return after how many seconds the messages published before a queue was found empty count as lost.

    `OUTBOX_REPAIR_AFTER_SECONDS`, or a minute more than `max_unacked_seconds`; more than the consumer timeout where
    that is shorter, because RabbitMQ requeues messages that are unacknowledged for longer.
    """
    if (wanted := conf.OUTBOX_REPAIR_AFTER_SECONDS) is not None:
        return wanted
    import_actors()
    return min(max_unacked_seconds(broker), conf.OUTBOX_CONSUMER_TIMEOUT_SECONDS) + REPAIR_ALLOWANCE_SECONDS
