"""A load on a web server with what it costs: of the web server, of the servers behind it, and of the clients."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench import load
from bench.figures import Figure, Wanted, ratio
from bench.ground import Ground, Running
from bench.servers import cpu_seconds
from bench.sizes import CLIENTS

# Many short ones, since what else a machine does comes and goes within seconds.
ROUNDS = 6
UNITS = {"per_second": "a second", "p50_ms": "ms", "p99_ms": "ms", "web_ms": "ms of a core a request", "busy_ms": "ms"}


@dataclass(frozen=True, kw_only=True)
class Served(load.Answers):
    """One site's part of a round. Milliseconds of a core are those of one request."""

    web_ms: float
    """Of all processes and threads of the web server."""
    others_ms: dict[str, float]
    """Of PostgreSQL, RabbitMQ, Redis and the clients."""

    @property
    def busy_ms(self) -> float:
        return self.web_ms + self.others_ms["PostgreSQL"]


def serve(  # noqa: PLR0913 – what a load is, and what is waited for
    ground: Ground,
    web: Running,
    asks: Sequence[load.Ask],
    *,
    total: int,
    clients: int = CLIENTS,
    published_in: str | None = None,
) -> Served:
    """Put a load on a web server, and wait until the messages in a database of ours are published."""
    web_before, others_before = cpu_seconds(web.pid), ground.cpu_seconds()
    answers = load.run(web.port, asks, total=total, clients=clients)
    ended = ground.wait_for_relay(published_in) if published_in else answers.ended
    others = {name: now - others_before[name] for name, now in ground.cpu_seconds().items()}
    others["clients"] = answers.clients_seconds
    web_ms = (cpu_seconds(web.pid) - web_before) * 1000 / total
    others_ms = {name: seconds * 1000 / total for name, seconds in others.items()}
    return Served(**{**vars(answers), "ended": ended}, web_ms=web_ms, others_ms=others_ms)


def beside(
    attribute: str,
    name: str,
    ours: Sequence[load.Answers],
    theirs: Sequence[load.Answers],
    wanted: Wanted | None = None,
) -> Figure:
    """Return the ratio of an attribute, round by round; that of processor time says what others used, too."""
    mine, others = ([getattr(each, attribute) for each in rounds] for rounds in (ours, theirs))
    remark = f"ours: {_others(ours)}; theirs: {_others(theirs)}" if attribute == "web_ms" else ""
    return ratio(name, mine, others, UNITS[attribute], wanted=wanted, remark=remark)


def _others(rounds: Sequence[load.Answers]) -> str:
    spent = [served.others_ms for served in rounds if isinstance(served, Served)]
    medians = {name: statistics.median(each[name] for each in spent) for name in spent[0]}
    return ", ".join(f"{name} {ms:.2f} ms" for name, ms in medians.items())
