"""What the guarantee costs: POST /tasks/ through the outbox, beside the same view with a plain, unconfirmed send."""

from dataclasses import dataclass

from bench.figures import Figure, median_of
from bench.ground import PLAIN_VHOST, Ground, Web
from bench.load import throughput
from project.servers.process import wait_until

REQUESTS = 300
ROUNDS = 6
DRAIN_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One server's part of a round."""

    per_second: float

    cpu_ms: float
    """Of the web process, a request."""


def measure(ground: Ground) -> list[Figure]:
    plain_url = ground.rabbitmq.url + PLAIN_VHOST
    with (
        ground.web("web-outbox") as outbox,
        ground.web("web-plain", DJANGO_SETTINGS_MODULE="bench.settings_plain", RABBITMQ_URL=plain_url) as plain,
    ):
        for web in (outbox, plain):
            throughput(web.port, requests=100)  # connections are made, modules are loaded
        rounds = [_round(ground, [outbox, plain], first=number % 2) for number in range(ROUNDS)]
    with_outbox, without = ([one[web] for one in rounds] for web in (outbox, plain))
    return [_throughput(with_outbox, without), _cpu(with_outbox, without)]


def _round(ground: Ground, webs: list[Web], *, first: int) -> dict[Web, Measured]:
    """Measure one after the other, now this first and now that."""
    measured = {}
    for web in webs[first:] + webs[:first]:
        before = web.cpu_seconds()
        per_second = throughput(web.port, requests=REQUESTS)
        # A relay's work for these requests is theirs, and not the next server's.
        wait_until(lambda: ground.awaiting() == 0, timeout_seconds=DRAIN_TIMEOUT_SECONDS)
        measured[web] = Measured(per_second=per_second, cpu_ms=(web.cpu_seconds() - before) * 1000 / REQUESTS)
    return measured


def _throughput(with_outbox: list[Measured], without: list[Measured]) -> Figure:
    a, b = ([each.per_second for each in measured] for measured in (with_outbox, without))
    ratios = [one / other for one, other in zip(a, b, strict=True)]
    return Figure(
        name="POST /tasks/: throughput with the outbox, of that without",
        value=median_of(ratios),
        unit="",
        rounds=ratios,
        at_least=0.85,
        remark=f"{median_of(a):.0f} a second with it, its relay's thread included, {median_of(b):.0f} without; "
        f"{REQUESTS} requests a round, in turns",
    )


def _cpu(with_outbox: list[Measured], without: list[Measured]) -> Figure:
    a, b = ([each.cpu_ms for each in measured] for measured in (with_outbox, without))
    ratios = [one / other for one, other in zip(a, b, strict=True)]
    return Figure(
        name="POST /tasks/: processor time of the web process with the outbox, of that without",
        value=median_of(ratios),
        unit="",
        rounds=ratios,
        remark=f"{median_of(a):.2f} ms a request with it, its relay's thread included, {median_of(b):.2f} ms without",
    )
