"""Whether memory grows: of the web server and of the workers, after a while of work, beside what it was at its start.

Guarantee: the figure says how many requests and messages it comes from; a slower machine gets through fewer of them.
"""

from bench import load
from bench.figures import Figure
from bench.ground import Ground, Running
from bench.messages import carry, owe
from bench.sizes import Extent
from project.local.servers.process import wait_until

MAX_UNITS = 100_000
START = 1_000
WEB_SECONDS = 50
WORKER_SECONDS = 30


def measure(ground: Ground, extent: Extent) -> list[Figure]:
    return [_web(ground), _worker(ground)]


def _web(ground: Ground) -> Figure:
    ground.empty(ground.ours)
    with ground.web(ground.ours) as web:
        # Whatever is made on first use is made: each of the connections, in both processes.
        load.run(load.Load(port=web.port, requests=_mix(web.port), total=START))
        task = ground.count("SELECT min(id) FROM tasks_task")
        before = web.memory_mb()
        answers = load.run(
            load.Load(
                port=web.port,
                requests=_mix(web.port, f"/tasks/{task}/"),
                total=MAX_UNITS,
                max_seconds=WEB_SECONDS,
            )
        )
        ground.wait_for_relay()
        return _figure("web server", before, web, len(answers.latencies), "requests, one in twenty a create")


def _mix(port: int, task: str = "/tasks/") -> tuple[tuple[str, int], ...]:
    reads = [load.get(port, task)] * 14 + [load.get(port, "/tasks/")] * 4 + [load.get(port, "/activity/")]
    return (*reads, load.post(port))


def _worker(ground: Ground) -> Figure:
    ground.empty(ground.ours)
    owe(ground, MAX_UNITS)
    carry(ground, MAX_UNITS)
    with ground.worker(ground.ours) as pool:
        wait_until(lambda: _logged(ground) >= START, timeout_seconds=WORKER_SECONDS)
        before = pool.memory_mb()
        wait_until(lambda: _logged(ground) >= MAX_UNITS, timeout_seconds=WORKER_SECONDS)
        figure = _figure("workers", before, pool, _logged(ground), "messages")
    rows = ground.count("SELECT count(*) FROM actors_activity")
    left = ground.unsettled()
    if rows + left != MAX_UNITS:
        raise RuntimeError(f"{MAX_UNITS} messages, {rows} are logged and {left} are owed")
    return figure


def _logged(ground: Ground) -> int:
    return ground.last_id(ground.ours, ground.ours.activity)


def _figure(what: str, before_mb: float, running: Running, units: int, unit: str) -> Figure:
    after_mb = running.memory_mb()
    return Figure(
        name=f"memory of the {what} after {units:,} {unit.partition(',')[0]}, of that after {START:,}",
        rounds=[after_mb / before_mb],
        unit="×",
        goal=1.05,
        floor=1.1,
        remark=f"{before_mb:.0f} and {after_mb:.0f} MB of all its processes, what they share counted once; "
        f"{units:,} {unit}, in at most {WEB_SECONDS if what == 'web server' else WORKER_SECONDS} s",
    )
