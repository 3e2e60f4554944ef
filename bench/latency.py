"""How long a create takes to its log: from PostgreSQL's time of the task's commit to that of its activity row's."""

import statistics

from bench import load
from bench.figures import Figure, p99
from bench.ground import Ground
from project.local.servers.process import wait_until

PER_SECOND = 100
CREATES = 20 * PER_SECOND
WARM_UP = 100
ARRIVAL_TIMEOUT_SECONDS = 30.0

TOOK = """
SELECT 1000 * extract(epoch FROM pg_xact_commit_timestamp(activity.xmin) - pg_xact_commit_timestamp(task.xmin))::float8
FROM tasks_task AS task JOIN actors_activity AS activity ON activity.task_id = task.id
"""


def measure(ground: Ground) -> list[Figure]:
    ground.empty(ground.ours)
    with ground.web(ground.ours) as web, ground.worker(ground.ours):
        _create(ground, web.port, WARM_UP)
        ground.empty(ground.ours)
        _create(ground, web.port, CREATES)
    took_ms = [row[0] for row in ground.rows(TOOK)]
    tasks = ground.value("SELECT count(*) FROM tasks_task")
    logged = ground.value("SELECT count(*) FROM actors_activity")
    if not tasks == logged == len(took_ms) == CREATES:
        raise RuntimeError(f"{CREATES} creates, {tasks} tasks, {logged} rows, {len(took_ms)} of them theirs")
    remark = f"{CREATES:,} creates, {PER_SECOND} a second; the slowest {max(took_ms):.0f} ms"
    half, most = statistics.median(took_ms), p99(took_ms)
    return [
        Figure(name="commit → logged, p50", rounds=[half], unit="ms", wanted=(20.0, 40.0)),
        Figure(name="commit → logged, p99", rounds=[most], unit="ms", wanted=(100.0, 200.0), remark=remark),
    ]


def _create(ground: Ground, port: int, tasks: int) -> None:
    load.create(port, tasks, per_second=PER_SECOND)
    if not wait_until(lambda: ground.unsettled() == 0, timeout_seconds=ARRIVAL_TIMEOUT_SECONDS):
        raise RuntimeError(f"{ground.unsettled()} messages are not settled")
