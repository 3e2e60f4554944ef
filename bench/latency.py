"""How long a create takes to its log: from PostgreSQL's time of the task's commit to that of its activity row."""

from bench import load
from bench.figures import Figure, percentile
from bench.ground import Ground
from bench.sizes import Extent
from project.local.servers.process import wait_until

PER_SECOND = 100
SECONDS = 20
WARM_UP = 100
ARRIVAL_TIMEOUT_SECONDS = 30.0
GOALS = {50: (20.0, 40.0), 99: (100.0, 200.0)}

TOOK = """
SELECT 1000 * extract(epoch FROM pg_xact_commit_timestamp(activity.xmin) - pg_xact_commit_timestamp(task.xmin))::float8
FROM tasks_task AS task JOIN actors_activity AS activity ON activity.task_id = task.id
"""


def measure(ground: Ground, extent: Extent) -> list[Figure]:
    ground.empty(ground.ours)
    with ground.web(ground.ours) as web, ground.worker(ground.ours):
        _create(ground, web.port, WARM_UP)
        ground.empty(ground.ours)
        _create(ground, web.port, PER_SECOND * SECONDS)
    took_ms = [row[0] for row in ground.database().execute(TOOK).fetchall()]
    tasks, logged = (
        ground.count("SELECT count(*) FROM tasks_task"),
        ground.count("SELECT count(*) FROM actors_activity"),
    )
    if not tasks == logged == len(took_ms) == PER_SECOND * SECONDS:
        raise RuntimeError(
            f"{PER_SECOND * SECONDS} creates, {tasks} tasks, {logged} rows, {len(took_ms)} of them theirs"
        )
    said = f"{len(took_ms):,} creates, {PER_SECOND} a second; the slowest {max(took_ms):.0f} ms"
    return [
        Figure(
            name=f"commit → logged, p{percent}",
            rounds=[percentile(took_ms, percent)],
            unit="ms",
            goal=goal,
            floor=floor,
            remark=said if percent == 99 else "",
        )
        for percent, (goal, floor) in GOALS.items()
    ]


def _create(ground: Ground, port: int, tasks: int) -> None:
    load.run(load.Load(port=port, requests=(load.post(port),), total=tasks, per_second=PER_SECOND))
    if not wait_until(lambda: ground.unsettled() == 0, timeout_seconds=ARRIVAL_TIMEOUT_SECONDS):
        raise RuntimeError(f"{ground.unsettled()} messages are not settled")
