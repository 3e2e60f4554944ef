"""What one create costs, ours beside the lesson's: transactions and log of the database, traffic of the broker.

What it costs of a core is in `create`. The transactions are those of a web server's whole life, because PostgreSQL
counts those of a session that lives late, and those of one that has ended at once.
"""

import time
from typing import Any

from redis import Redis

from bench import load
from bench.figures import Figure, ratio
from bench.ground import Ground
from bench.peers.site import LESSON
from bench.sites import OURS, Site

CREATES = 1_000
LATE_SECONDS = 1.0
LOG_POSITION = "SELECT pg_current_wal_insert_lsn() - '0/0'"


def measure(ground: Ground) -> list[Figure]:
    mine, theirs = (_costs(ground, ground.site(name)) for name in (OURS, LESSON))
    return [ratio(f"{what} a create, of {LESSON}", [mine[what]], [theirs[what]], "") for what in mine]


def _costs(ground: Ground, site: Site) -> dict[str, float]:
    ground.empty(site)
    transactions = _transactions(ground, site)
    with ground.web(site) as web:
        # A page's first change after a checkpoint writes all of it into the log: half of the creates come before.
        load.create(web.port, CREATES)
        ground.wait_for_relay()
        log, traffic = ground.value(LOG_POSITION), _traffic(ground, site)
        load.create(web.port, CREATES)
        ground.wait_for_relay()
        log, traffic = ground.value(LOG_POSITION) - log, _traffic(ground, site) - traffic
    transactions = _transactions(ground, site) - transactions
    return {
        "transactions of the database": transactions / (2 * CREATES),
        "bytes of write-ahead log": log / CREATES,
        "bytes to and from the broker": traffic / CREATES,
    }


def _transactions(ground: Ground, site: Site) -> int:
    # The bench's own session counts what it did at its first query a second later.
    time.sleep(LATE_SECONDS)
    ground.rows("SELECT 1", database=site.database)
    return ground.value("SELECT xact_commit FROM pg_stat_database WHERE datname = %s", site.database)


def _traffic(ground: Ground, site: Site) -> int:
    if site.is_ours:
        columns = ground.servers.rabbitmq.rabbitmqctl("list_connections", "recv_oct", "send_oct", "--no-table-headers")
        return sum(map(int, columns.split()))
    with Redis.from_url(ground.servers.redis_url) as redis:
        counted: Any = redis.info("stats")
        return int(counted["total_net_input_bytes"]) + int(counted["total_net_output_bytes"])
