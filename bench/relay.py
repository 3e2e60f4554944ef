"""Rows of the outbox as the service itself would write them, many at once, and how fast relays publish them.

Guarantee: what is published is counted, in the database and in RabbitMQ, or there is no figure.
"""

from contextlib import ExitStack
from datetime import datetime

from bench.figures import Figure
from bench.ground import Ground
from bench.sites import QUEUE
from project.local.servers.process import wait_until

ROUNDS = 3
MESSAGES = 40_000
# Rows whose work is not settled yet lie in every table; among them a relay must find what is pending.
PUBLISHED_BEFORE = 100_000
COUNTED_FROM, COUNTED_TO = 0.1, 0.95
POLL_SECONDS = 0.25
COUNT_TIMEOUT_SECONDS = 20.0

FILL = """
INSERT INTO outbox_outboxmessage (message_id, queue, actor, body, state, attempt, first_attempt, starts,
                                  reason, error, traceback,
                                  subject, sequence, request_id, changed_by, changed_by_id, published_at)
SELECT id, %(queue)s::text, 'log_task_creation', convert_to(json_build_object(
         'queue_name', %(queue)s::text, 'actor_name', 'log_task_creation',
         'args', json_build_array(number, title, 'user1'),
         'kwargs', json_build_object('details', json_build_object('owner_id', 1, 'version', 1, 'changes', changes)),
         'options', json_build_object('subject', 'task:' || number, 'sequence', 1),
         'message_id', id, 'message_timestamp', 1767225600000)::text, 'UTF8'),
       %(state)s::text, 0, 0, 0, '', '', '', 'task:' || number, 1, id, 'user1', 1,
       CASE WHEN %(state)s::text = 'published' THEN now() - interval '1 minute' END
FROM (SELECT number, gen_random_uuid()::text AS id, 'Vazifa ' || number AS title,
             json_build_object('title', json_build_array(null, 'Vazifa ' || number),
                               'description', json_build_array(null, 'Bench'),
                               'completed', json_build_array(null, false),
                               'owner_id', json_build_array(null, 1), 'created_at', json_build_array(null, now()),
                               'owner', json_build_array(null, 'user1')) AS changes
      FROM generate_series(1, %(messages)s::int) AS number) AS numbered
"""


def measure(ground: Ground) -> list[Figure]:
    return [
        Figure(
            name="relay: rows to a quorum queue, confirmed and stamped",
            rounds=[_rate(ground, relays=1) for _ in range(ROUNDS)],
            unit="messages/s",
            wanted=(10_000, 5_000),
            remark=f"{MESSAGES:,} rows beside {PUBLISHED_BEFORE:,} published before; every message was counted once in "
            "the queue",
        ),
        Figure(
            name="relay: the same by two relays at once",
            rounds=[_rate(ground, relays=2)],
            unit="messages/s",
            remark="none was published twice",
        ),
    ]


def _rate(ground: Ground, *, relays: int) -> float:
    """Publish everything; return how many messages a second, by PostgreSQL's times of their stamps."""
    ground.empty(ground.ours)
    owe(ground, PUBLISHED_BEFORE, state="published")
    owe(ground, MESSAGES)
    publish(ground, MESSAGES, relays=relays)
    query = "SELECT published_at FROM outbox_outboxmessage WHERE id > %s ORDER BY 1"
    stamps: list[datetime] = [stamp for (stamp,) in ground.rows(query, PUBLISHED_BEFORE)]
    first, last = (stamps[int(share * MESSAGES)] for share in (COUNTED_FROM, COUNTED_TO))
    return sum(first < stamp <= last for stamp in stamps) / (last - first).total_seconds()


def owe(ground: Ground, messages: int, *, state: str = "pending") -> None:
    """Write rows for messages about new tasks."""
    ground.database().execute(FILL, {"queue": QUEUE, "state": state, "messages": messages})
    ground.database().execute("VACUUM ANALYZE outbox_outboxmessage")
    ground.database().execute("CHECKPOINT")


def publish(ground: Ground, messages: int, *, relays: int = 1) -> None:
    """Publish all that is pending, which are so many messages.

    Raises:
        RuntimeError: not as many are in RabbitMQ afterwards.
    """
    with ExitStack() as stack:
        for number in range(relays):
            stack.enter_context(ground.relay(f"relay-{number}"))
        ground.wait_for_relay(poll_seconds=POLL_SECONDS)
    # What a quorum queue says of its length lags a little.
    queue = ground.ours.queue
    if not wait_until(lambda: queue.count() == messages, timeout_seconds=COUNT_TIMEOUT_SECONDS):
        raise RuntimeError(f"{messages} messages were to be published, {queue.count()} are queued")
