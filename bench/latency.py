"""How long a create takes to its log: from PostgreSQL's time of the task's commit to that of its activity row's."""

import statistics

from bench import load
from bench.figures import Figure, p99
from bench.ground import Ground

PER_SECOND = 100
CREATES = 20 * PER_SECOND
WARM_UP = 100
ARRIVAL_TIMEOUT_SECONDS = 30.0

TOOK = """
SELECT 1000 * extract(epoch FROM pg_xact_commit_timestamp(activity.xmin) - pg_xact_commit_timestamp(task.xmin))::float8
FROM tasks_task AS task JOIN actors_activity AS activity ON activity.task_id = task.id
WHERE task.id > %s AND task.id <= %s
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


def took_ms(ground: Ground, after: int, last: int) -> list[float]:
    """Return how long the creates of tasks took, from the one after an id to the last."""
    return [took for (took,) in ground.rows(TOOK, after, last)]


def create(ground: Ground, port: int, tasks: int) -> None:
    """Create tasks at the steady rate, and wait until all are logged."""
    load.create(port, tasks, per_second=PER_SECOND)
    ground.wait_until_settled(ARRIVAL_TIMEOUT_SECONDS)
