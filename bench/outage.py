"""What a create costs while RabbitMQ is away, frozen or stopped, beside what it costs while RabbitMQ is there."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from bench import load
from bench.figures import Figure, number, ratios
from bench.ground import Ground
from bench.sizes import CLIENTS, Extent

PER_SECOND = 50
SECONDS = 5
CREATES = 400
ROUNDS = 3
WARM_UP = 100


@dataclass(frozen=True, kw_only=True)
class Creates:
    """What a few seconds were like."""

    p99_ms: float
    """At a steady rate."""

    per_second: float
    """As fast as the answers came."""


def measure(ground: Ground, extent: Extent) -> list[Figure]:
    node = ground.rabbitmq
    figures = []
    with ground.web(ground.ours) as web:
        ground.empty(ground.ours)
        _create(web.port, WARM_UP)
        for how, away, back in (("frozen", node.freeze, node.thaw), ("stopped", node.stop, node.start)):
            rounds = [_round(ground, web.port, away=away, back=back) for _ in range(ROUNDS)]
            figures += _figures(how, rounds)
    return figures


def _round(ground: Ground, port: int, *, away: Callable[[], None], back: Callable[[], None]) -> tuple[Creates, Creates]:
    """Measure with RabbitMQ and without, one after the other; and make sure that all is delivered afterwards."""
    ground.empty(ground.ours)
    present = _measure(port)
    ground.wait_for_relay()
    away()
    try:
        absent = _measure(port)
    finally:
        back()
    ground.wait_for_relay()
    _verify(ground)
    return present, absent


def _measure(port: int) -> Creates:
    steady = _create(port, PER_SECOND * SECONDS, per_second=PER_SECOND)
    fast = _create(port, CREATES)
    return Creates(p99_ms=steady.ms(99), per_second=fast.per_second)


def _create(port: int, total: int, *, per_second: float = 0) -> load.Answers:
    return load.run(
        load.Load(port=port, requests=(load.post(port),), total=total, clients=CLIENTS, per_second=per_second)
    )


def _verify(ground: Ground) -> None:
    expected = 2 * (PER_SECOND * SECONDS + CREATES)
    told = ground.ours.queue.take(expected)
    # A publish that was interrupted may have got through: once more is no loss, and a worker drops it.
    tasks = {row[0] for row in ground.database().execute("SELECT id FROM tasks_task").fetchall()}
    if len(tasks) != expected or set(told) != tasks:
        raise RuntimeError(f"{expected} creates, {len(tasks)} tasks, messages of {len(set(told))} tasks")


def _figures(how: str, rounds: list[tuple[Creates, Creates]]) -> list[Figure]:
    def figure(attribute: str, name: str, unit: str, goal: float, floor: float) -> Figure:
        present, absent = ([getattr(each[i], attribute) for each in rounds] for i in (0, 1))
        both = f"{number(statistics.median(absent))} {unit}, {number(statistics.median(present))} while it is there"
        return Figure(name=name, rounds=ratios(absent, present), unit="×", goal=goal, floor=floor, remark=both)

    creates = f"creates while RabbitMQ is {how}"
    return [
        figure("per_second", f"{creates}: a second, of those while it is there", "a second", 1.0, 0.9),
        figure("p99_ms", f"{creates}: p99, of that while it is there", "ms", 1.0, 1.5),
    ]
