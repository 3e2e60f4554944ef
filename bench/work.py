"""Measures workers: how fast they work off a queue that is full before they start.

The clock runs from a tenth of the effects to 95 in 100, so that starting does not count. Ours writes a line and a row,
each exactly once; `PEERS` says what each peer writes. Every effect is counted, or there is no figure.
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from psycopg import sql

from bench.figures import Figure, Wanted, in_turns, ratio
from bench.ground import Ground, Running
from bench.relay import owe, publish
from bench.sites import OURS, Site
from project.local.stack import ROOT

ROUNDS = 3
# A round of less says more of starting than of working, and the fast ones are through with these in a second or two.
MESSAGES = 6_000
MESSAGES_OF_THE_FAST = 15_000
FAST = (OURS, "dramatiq")
Peers = Mapping[str, tuple[str, Wanted | None]]
"""What each peer does, and what is wanted: where it writes the row as well, ours must be half as fast again."""

PEERS: Peers = {
    "celery-rabbitmq-row": ("acknowledged late, a line and the same row, connections kept", (2.0, 1.5)),
    "dramatiq-row": ("a line and the same row", (2.0, 1.5)),
    "dramatiq": ("a line", None),
}
OTHERS: Peers = {
    "celery-rabbitmq": ("a line", (2.0, 1.2)),
    "celery-rabbitmq-row-reconnecting": ("the same row, but a new connection for each task, Celery's default", None),
}
COUNTED_FROM, COUNTED_TO = 0.1, 0.95
POLL_SECONDS = 0.02
TIMEOUT_SECONDS = 120.0
SETTLE_SECONDS = 0.5
LINE = re.compile(rb"Yangi vazifa yaratildi: Vazifa \d+ \(ID: (\d+), Owner: user1\)")


def measure(ground: Ground, peers: Peers = PEERS) -> list[Figure]:
    rounds = in_turns([OURS, *peers], ROUNDS, partial(_work, ground))
    absolute = Figure(
        name="messages a second that our workers log, a line and a row each",
        rounds=rounds[OURS],
        unit="messages/s",
        remark=f"{MESSAGES:,} messages a round, {MESSAGES_OF_THE_FAST:,} of {' and '.join(FAST)}; every row and every "
        "line was counted once, and the outbox was empty",
    )
    beside = [
        ratio(f"messages a second, of {name} ({does})", rounds[OURS], rounds[name], "a second", wanted=wanted)
        for name, (does, wanted) in peers.items()
    ]
    return [absolute, *beside]


def _work(ground: Ground, name: str) -> float:
    """Return how many messages a second a pool of workers works off.

    Raises:
        RuntimeError: an effect is missing or double.
    """
    site, messages = ground.site(name), MESSAGES_OF_THE_FAST if name in FAST else MESSAGES
    ground.empty(site)
    _preload(ground, site, messages)
    with ground.worker(site) as pool:
        count = partial(ground.last_id, site, site.activity) if site.writes_rows else Lines(pool.log).count
        per_second = _rate(count, messages)
        time.sleep(SETTLE_SECONDS)  # time for what would come twice
        _verify(ground, site, pool, messages)
    return per_second


class Lines:
    """Counts the lines of a log that grows."""

    def __init__(self, log: Path) -> None:
        self._file = log.open("rb")
        self._counted = 0

    def count(self) -> int:
        self._counted += self._file.read().count(b"\n")
        return self._counted


def _preload(ground: Ground, site: Site, messages: int) -> None:
    if site.is_ours:
        owe(ground, messages)
        publish(ground, messages)
        return
    half = messages // 2
    with _send(ground, site, 1, half) as one, _send(ground, site, half + 1, messages) as other:
        pass
    if one.returncode or other.returncode:
        raise RuntimeError(f"{site.name}: the messages could not be sent; what went wrong stands above")
    ground.database(site.database).execute("CHECKPOINT")


def _send(ground: Ground, site: Site, first: int, last: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bench.peers.publish", str(first), str(last)]
    return subprocess.Popen(command, env=ground.environment(site), cwd=ROOT)


def _rate(count: Callable[[], int], messages: int) -> float:
    (began, first), (ended, last), _all = (_when(count, messages * share) for share in (COUNTED_FROM, COUNTED_TO, 1))
    return (last - first) / (ended - began)


def _when(count: Callable[[], int], wanted: float) -> tuple[float, int]:
    """Wait until so many effects are there; return when that was seen, and how many there were."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (counted := count()) < wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{counted} of {wanted:.0f} messages have had an effect")
        time.sleep(POLL_SECONDS)
    return time.monotonic(), counted


def _verify(ground: Ground, site: Site, pool: Running, messages: int) -> None:
    expected = list(range(1, messages + 1))
    logged = sorted(map(int, LINE.findall(pool.log.read_bytes())))
    if logged != expected:
        raise RuntimeError(f"{site.name}: {messages} messages, {len(logged)} lines of {len(set(logged))} tasks")
    if not site.writes_rows:
        return
    query = sql.SQL("SELECT task_id FROM {} ORDER BY task_id").format(site.activity)
    found = [task for (task,) in ground.rows(query, database=site.database)]
    if found != expected:
        raise RuntimeError(f"{site.name}: {messages} messages, {len(found)} rows of {len(set(found))} tasks")
    if site.is_ours and (left := ground.unsettled()):
        raise RuntimeError(f"{site.name}: {left} rows of the outbox are left")
