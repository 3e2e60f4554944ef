"""How fast a relay is: pending rows on PostgreSQL, to a quorum queue, confirmed and stamped."""

import json
import subprocess
import sys
from contextlib import ExitStack

from bench.figures import Figure, median_of
from bench.ground import QUEUE, Ground
from project.servers.process import wait_until
from project.stack import ROOT

MESSAGES = 50_000
# Rows whose work is not settled yet lie in every table; among them a relay must find what is pending.
PUBLISHED_BEFORE = 100_000
ROUNDS = 3
COUNT_TIMEOUT_SECONDS = 20.0

FILL = """
INSERT INTO outbox_outboxmessage (message_id, queue, actor, body, state, attempt, first_attempt, starts,
                                  reason, error, traceback,
                                  subject, request_id, changed_by, published_at)
SELECT id, %(queue)s::text, 'log_task_creation', convert_to(json_build_object(
         'queue_name', %(queue)s::text, 'actor_name', 'log_task_creation',
         'args', json_build_array(number, 'Vazifa ' || number, 'user1'), 'kwargs', '{}'::json,
         'options', json_build_object('subject', 'task:' || number),
         'message_id', id, 'message_timestamp', 1767225600000)::text, 'UTF8'),
       %(state)s::text, 0, 0, 0, '', '', '', 'task:' || number, '', '',
       CASE WHEN %(state)s::text = 'published' THEN now() - interval '1 minute' END
FROM (SELECT number, gen_random_uuid()::text AS id FROM generate_series(1, %(messages)s::int) AS number) AS numbered
"""


def measure(ground: Ground) -> list[Figure]:
    alone = [_carry(ground, relays=1) for _ in range(ROUNDS)]
    together = _carry(ground, relays=2)
    rates = [MESSAGES / seconds for seconds, _cpu in alone]
    cost = [cpu * 1e6 / MESSAGES for _seconds, cpu in alone]
    return [
        Figure(
            name=f"relay: {MESSAGES:,} rows to a quorum queue, confirmed and stamped",
            value=median_of(rates),
            unit="messages/s",
            rounds=rates,
            at_least=5_000,
            remark=f"the relay itself used {median_of(cost):.0f} µs of a core a message; every row was counted as "
            f"published, every message counted once in the queue, beside {PUBLISHED_BEFORE:,} rows published before",
        ),
        Figure(
            name="relay: the same by two relays at once",
            value=MESSAGES / together[0],
            unit="messages/s",
            remark="none was published twice",
        ),
    ]


def _carry(ground: Ground, *, relays: int) -> tuple[float, float]:
    """Carry everything; return the seconds until the last relay was done, and the seconds of a core they used."""
    ground.empty()
    for state, messages in {"published": PUBLISHED_BEFORE, "pending": MESSAGES}.items():
        ground.database.execute(FILL, {"queue": QUEUE, "state": state, "messages": messages})
    ground.database.execute("VACUUM ANALYZE outbox_outboxmessage")
    ground.database.execute("CHECKPOINT")
    answers = _run_relays(ground, relays)
    _verify(ground)
    return max(answer["seconds"] for answer in answers), sum(answer["cpu_seconds"] for answer in answers)


def _run_relays(ground: Ground, relays: int) -> list[dict[str, float]]:
    with ExitStack() as stack:
        running = [stack.enter_context(_start(ground)) for _ in range(relays)]
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
        env=ground.environment(),
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def _verify(ground: Ground) -> None:
    published = ground.count("SELECT count(*) FROM outbox_outboxmessage WHERE state = 'published'") - PUBLISHED_BEFORE
    # What a quorum queue says of its length lags a little.
    wait_until(lambda: ground.queued() == MESSAGES, timeout_seconds=COUNT_TIMEOUT_SECONDS)
    if (published, ground.queued()) != (MESSAGES, MESSAGES):
        raise RuntimeError(f"{MESSAGES} were to be carried: {published} are stamped, {ground.queued()} are queued")
