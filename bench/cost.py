"""What one create costs, ours beside the lesson's: transactions and log of the database, traffic of the broker.

What it costs of a core is in `create`. PostgreSQL's counters of transactions are some seconds late while a session
lasts: they are read once for both, after a pause, and again when the sessions have ended.
"""

import time
from typing import Any

from redis import Redis

from bench import load
from bench.figures import Figure, number
from bench.ground import Ground, Running
from bench.sites import LESSON, OURS, Site

CREATES = 1_000
WARM_UP = 200
# An idle session tells of what it did after ten, one that ends at once.
LATE_SECONDS = 11.0
ENDED_SECONDS = 1.0


def measure(ground: Ground) -> list[Figure]:
    names = [OURS, LESSON]
    with ground.webs(names) as webs:
        for name in names:
            ground.empty(ground.site(name))
            _create(ground, ground.site(name), webs[name], WARM_UP)
        time.sleep(LATE_SECONDS)
        before = _transactions(ground, names)
        traffic = {name: _traffic_of(ground, ground.site(name), webs[name]) for name in names}
    time.sleep(ENDED_SECONDS)
    after = _transactions(ground, names)
    return [
        _figure("transactions of the database", "", {name: after[name] - before[name] for name in names}),
        _figure("write-ahead log of the database", "bytes", {name: traffic[name][0] for name in names}),
        _figure("traffic of the broker, both ways", "bytes", {name: traffic[name][1] for name in names}),
    ]


def _create(ground: Ground, site: Site, web: Running, creates: int) -> None:
    load.run(load.Load(port=web.port, requests=(load.post(web.port),), total=creates))
    if site.is_ours:
        ground.wait_for_relay()


def _transactions(ground: Ground, names: list[str]) -> dict[str, int]:
    query = "SELECT xact_commit FROM pg_stat_database WHERE datname = %s"
    rows = {name: ground.database().execute(query, [ground.site(name).database]).fetchone() for name in names}
    return {name: int(row[0]) for name, row in rows.items() if row}


def _traffic_of(ground: Ground, site: Site, web: Running) -> tuple[int, int]:
    """Return the bytes that so many creates make of log and of traffic."""
    log, traffic = _log_position(ground), _traffic(ground, site)
    _create(ground, site, web, CREATES)
    return _log_position(ground) - log, _traffic(ground, site) - traffic


def _log_position(ground: Ground) -> int:
    return ground.count("SELECT pg_current_wal_insert_lsn() - '0/0'")


def _traffic(ground: Ground, site: Site) -> int:
    if site.is_ours:
        columns = ground.servers.rabbitmq.rabbitmqctl("list_connections", "recv_oct", "send_oct", "--no-table-headers")
        return sum(map(int, columns.split()))
    with Redis.from_url(ground.servers.redis.url) as redis:
        counted: Any = redis.info("stats")
        return int(counted["total_net_input_bytes"]) + int(counted["total_net_output_bytes"])


def _figure(what: str, unit: str, counted: dict[str, int]) -> Figure:
    each = {name: count / CREATES for name, count in counted.items()}
    told = f"{number(each[OURS])} and {number(each[LESSON])} {unit}".strip()
    return Figure(name=f"{what} a create, of {LESSON}", rounds=[each[OURS] / each[LESSON]], unit="×", remark=told)
