"""What a held snapshot costs, such as a backup's: claims that find nothing, after many messages, and a soak.

PostgreSQL's log times the claims: ours of a relay, after workers have settled all messages, the peer's of its worker.
"""

import os
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import psycopg
from psycopg import sql

from bench import latency, load
from bench.figures import Figure, p99, ratio
from bench.ground import Ground
from bench.peers.site import procrastinate, work_off_jobs
from bench.relay import owe
from bench.servers import cpu_seconds
from bench.sites import Site
from bench.sizes import WEB_PROCESSES, WEB_THREADS

MESSAGES, SETTLE_SECONDS, CLAIMS_SECONDS = 80_000, 300.0, 40.0
MINUTES, PER_SECOND = int(os.environ.get("SOAK_MINUTES", "10")), int(os.environ.get("SOAK_PER_SECOND", "300"))
WANTED = (1.5, 3.0)


def measure(ground: Ground) -> list[Figure]:
    name = "a claim that finds nothing, under a held snapshot, of one without"
    figures = []
    for site in (ground.ours, procrastinate(ground.servers)):
        free = _claims_ms(ground, site)
        with _held_snapshot(ground, site):
            held = _claims_ms(ground, site)
        remark = f"after {MESSAGES:,} messages; held: {statistics.mean(held):.1f} on average, {max(held):.0f} at most"
        medians, wanted = (statistics.median(held), statistics.median(free)), WANTED if site.is_ours else None
        figures.append(ratio(f"{site.name}: {name}", medians[:1], medians[1:], "ms", wanted=wanted, remark=remark))
    return figures


def _claims_ms(ground: Ground, site: Site) -> list[float]:
    """Have many messages worked off; return how long each claim of a process then takes that has nothing to do."""
    database, log = ground.database(site.database), ground.servers.postgresql.log
    if site.is_ours:
        ground.empty(site)
        owe(ground, MESSAGES)
        with ground.relay(), ground.worker(site):
            ground.wait_until_settled(SETTLE_SECONDS)
    else:
        work_off_jobs(database, MESSAGES)
    database.execute("VACUUM ANALYZE")
    read, logging = log.stat().st_size, "ALTER DATABASE {} SET log_min_duration_statement = {}"
    database.execute(sql.SQL(logging).format(sql.Identifier(site.database), 0))
    with ground.relay() if site.is_ours else ground.worker(site):
        time.sleep(CLAIMS_SECONDS)
    database.execute(sql.SQL(logging).format(sql.Identifier(site.database), -1))
    claim = "WITH chosen" if site.is_ours else "SELECT id, status, task_name"
    claims = [0.0]
    logged = re.findall(rf"duration: ([\d.]+) ms  (\w+) [^:]*: \s*{claim}", log.read_bytes()[read:].decode())
    for ms, step in logged:
        claims[-1] += float(ms)  # to parse it, to plan it, to execute it
        if step == "execute":
            claims.append(0.0)
    return claims[:-1]


def soak(ground: Ground) -> list[Figure]:
    """Create at a steady rate beside a held snapshot, and compare the last minute with the first."""
    ground.empty(ground.ours)
    with ground.web(ground.ours) as web, ground.worker(ground.ours) as pool:

        def busy_seconds() -> float:
            return sum(ground.cpu_seconds().values()) + cpu_seconds(web.pid) + cpu_seconds(pool.pid)

        latency.create(ground, web.port, latency.CREATES)
        minutes, tasks = [], partial(ground.last_id, ground.ours, ground.ours.tasks)
        with _held_snapshot(ground, ground.ours):
            for _ in range(MINUTES):
                before, busy, total, threads = tasks(), busy_seconds(), 60 * PER_SECOND, WEB_PROCESSES * WEB_THREADS
                load.run(web.port, [load.post()], total=total, clients=threads, per_second=PER_SECOND)
                minutes.append((before, tasks(), (busy_seconds() - busy) * 1000 / total))
            ground.wait_until_settled(SETTLE_SECONDS)
    p99_ms = [p99(latency.took_ms(ground, before, last)) for before, last, _spent in minutes]
    spent_ms = [spent for _before, _last, spent in minutes]
    of = f"minute {MINUTES} at {PER_SECOND} creates a second beside a held snapshot, of the first"
    remark = "p99 of each minute: " + ", ".join(f"{ms:.0f}" for ms in p99_ms)
    return [
        ratio(f"commit → logged, p99: {of}", p99_ms[-1:], p99_ms[:1], "ms", wanted=WANTED, remark=remark),
        ratio(f"processor time a message: {of}", spent_ms[-1:], spent_ms[:1], "ms", wanted=WANTED),
    ]


@contextmanager
def _held_snapshot(ground: Ground, site: Site) -> Iterator[None]:
    with psycopg.connect(ground.servers.postgresql.url(site.database), application_name="backup") as backup:
        backup.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        backup.execute("SELECT 1")
        yield
