"""Measures workers: how fast they work off a queue that is full before they start.

The clock runs from a tenth of the effects to 95 in 100, so that starting does not count. Ours writes a line and a row,
each exactly once; `DOES` says what each peer writes. Every effect is counted, or there is no figure.
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from psycopg import sql

from bench.figures import Figure, beside
from bench.ground import Ground, Running
from bench.messages import carry, owe
from bench.rows import make_alike
from bench.sites import LESSON, OURS, PEERS_DATABASE, Site
from bench.sizes import Extent
from bench.turns import in_turns
from project.local.stack import ROOT

PROBE = 1_000
MIN_MESSAGES, MAX_MESSAGES = 600, 60_000
DOES = {
    "celery-rabbitmq": "a line",
    "celery-rabbitmq-row": "acknowledged late, a line and the same row, connections kept",
    "celery-rabbitmq-row-reconnecting": "the same, but a new connection for each task, Celery's default",
    LESSON: "a line and a result",
    "dramatiq": "a line",
    "dramatiq-row": "a line and the same row",
}
# Where a peer writes the row as well, ours must be half as fast again; the others do less than ours.
GOALS = {"celery-rabbitmq": (2.0, 1.2), "celery-rabbitmq-row": (2.0, 1.5), "dramatiq-row": (2.0, 1.5)}
COUNTED_FROM, COUNTED_TO = 0.1, 0.95
POLL_SECONDS = 0.02
TIMEOUT_SECONDS = 120.0
SETTLE_SECONDS = 0.5
LINE = re.compile(rb"Yangi vazifa yaratildi: Vazifa \d+ \(ID: (\d+), Owner: user1\)")


def measure(ground: Ground, extent: Extent) -> list[Figure]:
    if any(ground.site(name).writes_rows for name in extent.workers):
        make_alike(ground)
    names = [OURS, *extent.workers]
    messages = {name: _enough(work(ground, ground.site(name), PROBE) * extent.work_seconds) for name in names}
    rounds = in_turns(names, extent.work_rounds, lambda name: work(ground, ground.site(name), messages[name]))
    figures = [_beside(name, rounds[OURS], rounds[name]) for name in extent.workers]
    return [_absolute(rounds[OURS], messages), *figures]


def _enough(messages: float) -> int:
    return int(round(max(MIN_MESSAGES, min(MAX_MESSAGES, messages)), -2))


def work(ground: Ground, site: Site, messages: int) -> float:
    """Return how many messages a second a pool of workers works off.

    Raises:
        RuntimeError: an effect is missing or double.
    """
    ground.empty(site)
    _preload(ground, site, messages)
    with ground.worker(site) as pool:
        lines = Lines(pool.log)
        per_second = _rate(_rows(ground, site) if site.writes_rows else lines.count, messages)
        time.sleep(SETTLE_SECONDS)  # time for what would come twice
        _verify(ground, site, pool, messages)
    return per_second


class Lines:
    """Counts the lines of a log that grows."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._position = self._counted = 0

    def count(self) -> int:
        if self._log.exists():
            with self._log.open("rb") as file:
                file.seek(self._position)
                grown = file.read()
            whole = grown[: grown.rfind(b"\n") + 1]
            self._position += len(whole)
            self._counted += whole.count(b"Yangi vazifa yaratildi")
        return self._counted


def _rows(ground: Ground, site: Site) -> Callable[[], int]:
    return lambda: ground.last_id(site, site.activity)


def _preload(ground: Ground, site: Site, messages: int) -> None:
    if site.is_ours:
        owe(ground, messages)
        carry(ground, messages)
        return
    half = messages // 2
    with ExitStack() as stack:
        publishing = [
            stack.enter_context(_publish(ground, site, first, last))
            for first, last in ((1, half), (half + 1, messages))
        ]
    if any(process.returncode for process in publishing):
        raise RuntimeError(f"{site.name}: the messages could not be published; what went wrong stands above")
    ground.database(PEERS_DATABASE).execute("CHECKPOINT")


def _publish(ground: Ground, site: Site, first: int, last: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bench.peers.publish", str(first), str(last)]
    return subprocess.Popen(command, env=ground.environment(site), cwd=ROOT)


def _rate(count: Callable[[], int], messages: int) -> float:
    first = _when(count, messages * COUNTED_FROM)
    last = _when(count, messages * COUNTED_TO)
    _when(count, messages)
    return (last[1] - first[1]) / (last[0] - first[0])


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
    found = ground.database(site.database).execute(query).fetchall()
    if [row[0] for row in found] != expected:
        raise RuntimeError(f"{site.name}: {messages} messages, {len(found)} rows of {len(set(found))} tasks")
    if site.is_ours and (left := ground.unsettled()):
        raise RuntimeError(f"{site.name}: {left} rows of the outbox are left")


def _absolute(mine: list[float], messages: dict[str, int]) -> Figure:
    told = ", ".join(f"{count:,} of {name}" for name, count in messages.items())
    return Figure(
        name="messages a second that our workers log, a line and a row each",
        rounds=mine,
        unit="messages/s",
        remark=f"messages a round: {told}; every row was counted once, every line once, and the outbox was empty",
    )


def _beside(name: str, mine: list[float], theirs: list[float]) -> Figure:
    goal, floor = GOALS.get(name, (None, None))
    return beside(f"messages a second, of {name} ({DOES[name]})", mine, theirs, "a second", goal=goal, floor=floor)
