"""How fast a relay is: pending rows on PostgreSQL, to a quorum queue, confirmed and stamped."""

import statistics

from bench.figures import Figure
from bench.ground import Ground
from bench.messages import carry, owe
from bench.sizes import Extent

ROUNDS = 3
MESSAGES = 40_000
# Rows whose work is not settled yet lie in every table; among them a relay must find what is pending.
PUBLISHED_BEFORE = 100_000


def measure(ground: Ground, extent: Extent) -> list[Figure]:
    alone = [_carry(ground, relays=1) for _ in range(ROUNDS)]
    together = _carry(ground, relays=2)
    cost = statistics.median(cpu * 1e6 / MESSAGES for _seconds, cpu in alone)
    return [
        Figure(
            name="relay: rows to a quorum queue, confirmed and stamped",
            rounds=[MESSAGES / seconds for seconds, _cpu in alone],
            unit="messages/s",
            goal=10_000,
            floor=5_000,
            remark=f"{MESSAGES:,} rows beside {PUBLISHED_BEFORE:,} published before; the relay itself used {cost:.0f} "
            "µs of a core a message; every row was counted as published, every message counted once in the queue",
        ),
        Figure(
            name="relay: the same by two relays at once",
            rounds=[MESSAGES / together[0]],
            unit="messages/s",
            remark="none was published twice",
        ),
    ]


def _carry(ground: Ground, *, relays: int) -> tuple[float, float]:
    """Carry everything; return the seconds until the last relay was done, and the seconds of a core they used."""
    ground.empty(ground.ours)
    owe(ground, PUBLISHED_BEFORE, state="published")
    owe(ground, MESSAGES)
    answers = carry(ground, MESSAGES, relays=relays)
    return max(answer["seconds"] for answer in answers), sum(answer["cpu_seconds"] for answer in answers)
