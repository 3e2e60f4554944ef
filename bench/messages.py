"""Rows of the outbox as the service itself would write them, many at once, and the relay that carries them.

Guarantee: what is carried is counted, in the database and in RabbitMQ, or there is no figure.
"""

import json
import subprocess
import sys
from contextlib import ExitStack

from bench.ground import Ground
from bench.sites import QUEUE
from project.local.servers.process import wait_until
from project.local.stack import ROOT

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


def owe(ground: Ground, messages: int, *, state: str = "pending") -> None:
    """Write rows for messages about new tasks."""
    ground.database().execute(FILL, {"queue": QUEUE, "state": state, "messages": messages})
    ground.database().execute("VACUUM ANALYZE outbox_outboxmessage")
    ground.database().execute("CHECKPOINT")


def carry(ground: Ground, messages: int, *, relays: int = 1) -> list[dict[str, float]]:
    """Carry all that is pending; return how long each relay took, by the clock and of the processor.

    Raises:
        RuntimeError: not `messages` of them are in RabbitMQ afterwards, or not all are stamped.
    """
    with ExitStack() as stack:
        running = [stack.enter_context(_start(ground)) for _ in range(relays)]
        try:
            answers = _run(running)
        except BaseException:
            for each in running:
                each.kill()
            raise
    # What a quorum queue says of its length lags a little.
    queue = ground.ours.queue
    wait_until(lambda: queue.count() == messages, timeout_seconds=COUNT_TIMEOUT_SECONDS)
    if (queue.count(), ground.awaiting()) != (messages, 0):
        raise RuntimeError(
            f"{messages} were to be carried: {queue.count()} are queued, {ground.awaiting()} are not stamped"
        )
    return answers


def _run(running: list[subprocess.Popen[str]]) -> list[dict[str, float]]:
    for each in running:
        assert each.stdout is not None
        if each.stdout.readline().strip() != "ready":
            raise RuntimeError("a relay did not start")
    for each in running:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    return [json.loads(each.communicate()[0]) for each in running]


def _start(ground: Ground) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench.carry"],
        env=ground.environment(ground.ours),
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
