"""What a create costs while RabbitMQ is away, frozen or stopped, beside what it costs while RabbitMQ is there."""

from collections.abc import Callable
from dataclasses import dataclass

from bench import load
from bench.figures import Figure, beside
from bench.ground import Ground
from bench.sizes import Extent

# A steady rate for the 99th percentile, as fast as the answers come for the rate: many short turns, since what else a
# machine does comes and goes within seconds.
PER_SECOND = 50
SECONDS = 5
STEADY_ROUNDS = 2
CREATES = 400
FAST_ROUNDS = 4
WARM_UP = 100


@dataclass(frozen=True, kw_only=True)
class Outage:
    """A way in which RabbitMQ can be away."""

    name: str

    begin: Callable[[], None]

    end: Callable[[], None]


def measure(ground: Ground, extent: Extent) -> list[Figure]:
    node = ground.servers.rabbitmq
    outages = (
        Outage(name="frozen", begin=node.freeze, end=node.thaw),
        Outage(name="stopped", begin=node.stop, end=node.start),
    )
    with ground.web(ground.ours) as web:
        ground.empty(ground.ours)
        _create(web.port, WARM_UP)
        return [figure for outage in outages for figure in _measure(ground, web.port, outage)]


def _measure(ground: Ground, port: int, outage: Outage) -> list[Figure]:
    steady = [_round(ground, outage, lambda: _steady(port)) for _ in range(STEADY_ROUNDS)]
    fast = [_round(ground, outage, lambda: _fast(port)) for _ in range(FAST_ROUNDS)]
    return _figures(outage.name, fast=fast, steady=steady)


def _round(ground: Ground, outage: Outage, create: Callable[[], load.Answers]) -> tuple[load.Answers, load.Answers]:
    """Create while RabbitMQ is there and while it is not; and make sure that all is delivered afterwards."""
    ground.empty(ground.ours)
    present = create()
    ground.wait_for_relay()
    outage.begin()
    try:
        absent = create()
    finally:
        outage.end()
    ground.wait_for_relay()
    _verify(ground, len(present.latencies) + len(absent.latencies))
    return present, absent


def _steady(port: int) -> load.Answers:
    return _create(port, PER_SECOND * SECONDS, per_second=PER_SECOND)


def _fast(port: int) -> load.Answers:
    return _create(port, CREATES)


def _create(port: int, total: int, *, per_second: float = 0) -> load.Answers:
    return load.run(load.Load(port=port, requests=(load.post(port),), total=total, per_second=per_second))


def _verify(ground: Ground, expected: int) -> None:
    told = ground.ours.queue.take(expected)
    # A publish that was interrupted may have got through: once more is no loss, and a worker drops it.
    tasks = {row[0] for row in ground.database().execute("SELECT id FROM tasks_task").fetchall()}
    if len(tasks) != expected or set(told) != tasks:
        raise RuntimeError(f"{expected} creates, {len(tasks)} tasks, messages of {len(set(told))} tasks")


def _figures(
    name: str, *, fast: list[tuple[load.Answers, load.Answers]], steady: list[tuple[load.Answers, load.Answers]]
) -> list[Figure]:
    rate = [(present.per_second, absent.per_second) for present, absent in fast]
    p99 = [(present.ms(99), absent.ms(99)) for present, absent in steady]
    creates = f"creates while RabbitMQ is {name}"
    return [
        _figure(f"{creates}: a second, of those while it is there", rate, "a second", goal=1.0, floor=0.9),
        _figure(f"{creates}: p99, of that while it is there", p99, "ms", goal=1.0, floor=1.5),
    ]


def _figure(name: str, rounds: list[tuple[float, float]], unit: str, *, goal: float, floor: float) -> Figure:
    present, absent = map(list, zip(*rounds, strict=True))
    return beside(name, absent, present, unit, goal=goal, floor=floor)
