"""How long a create takes to its log: from PostgreSQL's time of the task's commit to that of its activity row's.

And how late a message with a delay is logged, by the same clock.
"""

import statistics
import subprocess

from bench import load
from bench.figures import Figure, p99
from bench.ground import Ground
from project.local.stack import ROOT

PER_SECOND = 100
CREATES = 20 * PER_SECOND
WARM_UP = 100
ARRIVAL_TIMEOUT_SECONDS = 30.0

TOOK = """
SELECT 1000 * extract(epoch FROM pg_xact_commit_timestamp(activity.xmin) - pg_xact_commit_timestamp(task.xmin))::float8
FROM tasks_task AS task JOIN actors_activity AS activity ON activity.task_id = task.id
WHERE task.id > %s AND task.id <= %s
"""

DELAY_MS = 100
DELAYED = 20 * PER_SECOND
# In a process with a relay of its own, as a web process has, which publishes all of them.
SEND_DELAYED = """
import time
from actors.activity import log_task_creation
from actors.outbox.background import background_threads
from actors.outbox.models import AWAITING, OutboxMessage
background_threads.start()
began = time.monotonic()
for number in range({messages}):
    time.sleep(max(0.0, began + number / {per_second} - time.monotonic()))
    log_task_creation.send_with_options(args=(number, "Bench", "user1"), delay={delay_ms})
while OutboxMessage.objects.filter(state__in=AWAITING).exists():
    time.sleep(0.1)
"""
LATE = """
SELECT 1000 * extract(epoch FROM pg_xact_commit_timestamp(xmin) - occurred_at)::float8 - %s FROM actors_activity
"""


def measure(ground: Ground) -> list[Figure]:
    ground.empty(ground.ours)
    with ground.web(ground.ours) as web, ground.worker(ground.ours):
        create(ground, web.port, WARM_UP)
        ground.empty(ground.ours)
        create(ground, web.port, CREATES)
    took = took_ms(ground, 0, ground.last_id(ground.ours, ground.ours.tasks))
    tasks = ground.value("SELECT count(*) FROM tasks_task")
    logged = ground.value("SELECT count(*) FROM actors_activity")
    if not tasks == logged == len(took) == CREATES:
        raise RuntimeError(f"{CREATES} creates, {tasks} tasks, {logged} rows, {len(took)} of them theirs")
    remark = f"{CREATES:,} creates, {PER_SECOND} a second; the slowest {max(took):.0f} ms"
    return [
        Figure(name="commit → logged, p50", rounds=[statistics.median(took)], unit="ms", wanted=(20.0, 40.0)),
        Figure(name="commit → logged, p99", rounds=[p99(took)], unit="ms", wanted=(100.0, 200.0), remark=remark),
    ]


def measure_delays(ground: Ground) -> list[Figure]:
    """Send messages with a delay at a steady rate; measure by how much later than their due time they are logged."""
    ground.empty(ground.ours)
    with ground.worker(ground.ours):
        send_delayed(ground, WARM_UP)
        ground.empty(ground.ours)
        send_delayed(ground, DELAYED)
    late = [ms for (ms,) in ground.rows(LATE, DELAY_MS)]
    if len(late) != DELAYED:
        raise RuntimeError(f"{DELAYED} messages with a delay, {len(late)} logged")
    name = f"due → logged, with a delay of {DELAY_MS} ms"
    remark = f"{DELAYED:,} messages, {PER_SECOND} a second; the latest {max(late):.0f} ms"
    return [
        Figure(name=f"{name}, p50", rounds=[statistics.median(late)], unit="ms", wanted=(20.0, 40.0)),
        Figure(name=f"{name}, p99", rounds=[p99(late)], unit="ms", wanted=(100.0, 200.0), remark=remark),
    ]


def took_ms(ground: Ground, after: int, last: int) -> list[float]:
    """Return how long the creates of tasks took, from the one after an id to the last."""
    return [took for (took,) in ground.rows(TOOK, after, last)]


def send_delayed(ground: Ground, messages: int) -> None:
    """Send messages with a delay at the steady rate, and wait until all are logged."""
    script = SEND_DELAYED.format(messages=messages, per_second=PER_SECOND, delay_ms=DELAY_MS)
    command = [*ground.ours.manage, "shell", "--no-imports", "--command", script]
    subprocess.run(command, env=ground.environment(ground.ours), cwd=ROOT, check=True)
    ground.wait_until_settled(ARRIVAL_TIMEOUT_SECONDS)


def create(ground: Ground, port: int, tasks: int) -> None:
    """Create tasks at the steady rate, and wait until all are logged."""
    load.create(port, tasks, per_second=PER_SECOND)
    ground.wait_until_settled(ARRIVAL_TIMEOUT_SECONDS)
