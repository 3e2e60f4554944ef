"""What a create costs while RabbitMQ is away, frozen or stopped, beside what it costs while RabbitMQ is there."""

from collections.abc import Callable

from bench.figures import Figure, median_of, percentile
from bench.ground import Ground
from bench.load import at_rate
from project.servers.process import wait_until

PER_SECOND = 50
SECONDS = 8
ROUNDS = 2
DRAIN_TIMEOUT_SECONDS = 60.0


def measure(ground: Ground) -> list[Figure]:
    node = ground.rabbitmq
    with ground.web() as web:
        at_rate(web.port, per_second=PER_SECOND, seconds=2)
        frozen = [_round(ground, web.port, away=node.freeze, back=node.thaw) for _ in range(ROUNDS)]
        stopped = [_round(ground, web.port, away=node.stop, back=node.start) for _ in range(ROUNDS)]
    return [_figure("frozen", frozen), _figure("stopped", stopped)]


def _round(ground: Ground, port: int, *, away: Callable[[], None], back: Callable[[], None]) -> tuple[float, float]:
    """Return the p99 of creates, in milliseconds, with RabbitMQ and without, one after the other."""
    with_rabbitmq = _p99_ms(port)
    away()
    try:
        without = _p99_ms(port)
    finally:
        back()
    if not wait_until(lambda: ground.awaiting() == 0, timeout_seconds=DRAIN_TIMEOUT_SECONDS):
        raise RuntimeError(f"{ground.awaiting()} messages were not delivered after RabbitMQ came back")
    return with_rabbitmq, without


def _p99_ms(port: int) -> float:
    return percentile(at_rate(port, per_second=PER_SECOND, seconds=SECONDS), 99) * 1000


def _figure(how: str, rounds: list[tuple[float, float]]) -> Figure:
    ratios = [without / with_rabbitmq for with_rabbitmq, without in rounds]
    return Figure(
        name=f"creates while RabbitMQ is {how}: p99, of that while it is up",
        value=median_of(ratios),
        unit="",
        rounds=ratios,
        at_most=1.5,
        remark="p99 with RabbitMQ and without it, in milliseconds: "
        + ", ".join(f"{up:.1f} and {away:.1f}" for up, away in rounds)
        + f"; {PER_SECOND} creates a second; all were delivered afterwards",
    )
