"""Whether memory grows: of the web server and of the workers, after a while of work, beside what it was at its start.

Guarantee: the figure says how many requests and messages it comes from; a slower machine gets through fewer of them.
"""

from bench import load
from bench.figures import Figure
from bench.ground import Ground
from bench.relay import owe, publish
from bench.servers import memory_mb
from project.local.servers.process import wait_until

MAX_UNITS = 100_000
START = 1_000
WEB_SECONDS = 50
WORKER_SECONDS = 30


def measure(ground: Ground) -> list[Figure]:
    return [_web(ground), _worker(ground)]


def _web(ground: Ground) -> Figure:
    ground.empty(ground.ours)
    with ground.web(ground.ours) as web:
        # What is made on first use is made: each of the connections, in both processes.
        load.run(web.port, _mix(), total=START)
        task = ground.value("SELECT min(id) FROM tasks_task")
        before = memory_mb(web.pid)
        answers = load.run(web.port, _mix(f"/tasks/{task}/"), total=MAX_UNITS, max_seconds=WEB_SECONDS)
        ground.wait_for_relay()
        done = f"{len(answers.latencies):,} requests"
        return _figure("web server", done, before, memory_mb(web.pid), f"one in twenty a create, in {WEB_SECONDS} s")


def _mix(task: str = "/tasks/") -> list[load.Ask]:
    return [load.get(task)] * 14 + [load.get("/tasks/")] * 4 + [load.get("/activity/"), load.post()]


def _worker(ground: Ground) -> Figure:
    ground.empty(ground.ours)
    owe(ground, MAX_UNITS)
    publish(ground, MAX_UNITS)
    with ground.worker(ground.ours) as pool:
        wait_until(lambda: _logged(ground) >= START, timeout_seconds=WORKER_SECONDS)
        before = memory_mb(pool.pid)
        wait_until(lambda: _logged(ground) >= MAX_UNITS, timeout_seconds=WORKER_SECONDS)
        done = f"{_logged(ground):,} messages"
        figure = _figure("workers", done, before, memory_mb(pool.pid), f"in at most {WORKER_SECONDS} s")
    rows, left = ground.value("SELECT count(*) FROM actors_activity"), ground.unsettled()
    if rows + left != MAX_UNITS:
        raise RuntimeError(f"{MAX_UNITS} messages, {rows} are logged and {left} are owed")
    return figure


def _logged(ground: Ground) -> int:
    return ground.last_id(ground.ours, ground.ours.activity)


def _figure(what: str, done: str, before_mb: float, after_mb: float, extent: str) -> Figure:
    return Figure(
        name=f"memory of the {what} after {done}, of that after {START:,}",
        rounds=[after_mb / before_mb],
        wanted=(1.05, 1.1),
        remark=f"{before_mb:.0f} and {after_mb:.0f} MB of all its processes, what they share counted once; {extent}",
    )
