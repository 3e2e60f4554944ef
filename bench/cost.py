"""What the guarantee costs: POST /tasks/ through the outbox, beside the same view with a plain, unconfirmed send."""

from bench.figures import Figure, median_of
from bench.ground import PLAIN_VHOST, Ground
from bench.load import throughput
from project.servers.process import wait_until

REQUESTS = 300
ROUNDS = 6
DRAIN_TIMEOUT_SECONDS = 30.0


def measure(ground: Ground) -> list[Figure]:
    plain_url = ground.rabbitmq.url + PLAIN_VHOST
    with (
        ground.web("web-outbox") as outbox,
        ground.web("web-plain", DJANGO_SETTINGS_MODULE="bench.settings_plain", RABBITMQ_URL=plain_url) as plain,
    ):
        for port in (outbox, plain):
            throughput(port, requests=100)  # connections are made, modules are loaded
        rounds = [_round(ground, outbox=outbox, plain=plain, first=number % 2) for number in range(ROUNDS)]
    ratios = [with_outbox / without for with_outbox, without in rounds]
    return [
        Figure(
            name="POST /tasks/: throughput with the outbox, of that without",
            value=median_of(ratios),
            unit="",
            rounds=ratios,
            at_least=0.85,
            remark=f"{median_of([a for a, _ in rounds]):.0f} a second with it, its relay's thread included, "
            f"{median_of([b for _, b in rounds]):.0f} without; {REQUESTS} requests a round, in turns",
        )
    ]


def _round(ground: Ground, *, outbox: int, plain: int, first: int) -> tuple[float, float]:
    """Return requests a second with the outbox and without, one after the other, now this first and now that."""
    ports = [outbox, plain]
    measured = {}
    for port in ports[first:] + ports[:first]:
        measured[port] = throughput(port, requests=REQUESTS)
        wait_until(lambda: ground.awaiting() == 0, timeout_seconds=DRAIN_TIMEOUT_SECONDS)
    return measured[outbox], measured[plain]
