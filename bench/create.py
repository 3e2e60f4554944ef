"""Measures `POST /tasks/`, ours beside the peers': rate, p50, p99 and processor time, by one user and by many.

The clock of ours stops when RabbitMQ has confirmed the last message; that of a peer with the last answer, since nothing
tells when its message was accepted.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from psycopg import sql

from bench import load
from bench.figures import Figure, beside
from bench.ground import Ground, Running
from bench.sites import LESSON, OURS, Site
from bench.sizes import CLIENTS, Extent
from bench.turns import in_turns
from bench.users import USERS, add_users, new_tokens

WARM_UP = 160
# Of the rate and of the p99, each the goal and the floor. With a new token for each request ours looks users up as
# often as the lesson's, and writes a row of the outbox as well; the floor is that it is not slower for it.
Goals = tuple[tuple[float, float] | None, tuple[float, float] | None]
BY_ONE: Goals = ((2.0, 1.3), (0.6, 1.0))
BY_MANY: Goals = ((1.3, 1.0), None)
UNITS = {"per_second": "a second", "p50_ms": "ms", "p99_ms": "ms", "web_ms": "ms of a core"}


@dataclass(frozen=True, kw_only=True)
class Creates:
    """One site's part of a round."""

    per_second: float

    p50_ms: float

    p99_ms: float

    web_ms: float
    """Of a core, a create: all processes and threads of the web server."""

    servers_ms: dict[str, float]
    """The same of PostgreSQL, RabbitMQ and Redis."""

    clients_ms: float


def measure(ground: Ground, extent: Extent) -> list[Figure]:
    names = [OURS, *extent.peers]
    points = [*((name, 1) for name in names), (OURS, USERS), (LESSON, USERS)]
    with ground.webs(names) as webs:
        tokens = {name: new_tokens(add_users(ground, ground.site(name))) for name in (OURS, LESSON)}

        def at(point: tuple[str, int], requests: int = extent.creates) -> Creates:
            name, users = point
            own = () if users == 1 else tuple(islice(tokens[name], requests))
            return create(ground, ground.site(name), webs[name], requests=requests, tokens=own)

        for point in points:
            at(point, WARM_UP)
        rounds = in_turns(points, extent.request_rounds, at)
    by_many = _beside(LESSON, rounds[OURS, USERS], rounds[LESSON, USERS], by=f" by {USERS:,} users", goals=BY_MANY)
    return [
        *(figure for name in extent.peers for figure in _beside(name, rounds[OURS, 1], rounds[name, 1])),
        *by_many,
    ]


def create(  # noqa: PLR0913 – how the load differs from the usual one
    ground: Ground,
    site: Site,
    web: Running,
    *,
    requests: int,
    clients: int = CLIENTS,
    tokens: Sequence[str] = (),
) -> Creates:
    """Create tasks as fast as the answers come, in an empty database; with tokens, each request takes the next one.

    Raises:
        RuntimeError: a task or a message is missing or double, or a task is not its sender's.
    """
    ground.empty(site)
    return create_more(ground, site, web, requests=requests, clients=clients, tokens=tokens)


def create_more(  # noqa: PLR0913 – as above
    ground: Ground,
    site: Site,
    web: Running,
    *,
    requests: int,
    clients: int = CLIENTS,
    tokens: Sequence[str] = (),
) -> Creates:
    """Create tasks beside those that are there; no message may be.

    Raises:
        RuntimeError: a task or a message is missing or double, or a task is not its sender's.
    """
    last = ground.last_id(site, site.tasks)
    posts = tuple(load.post(web.port, token=token) for token in tokens or [""])
    before, servers_before = web.cpu_seconds(), ground.cpu_seconds()
    answers = load.run(load.Load(port=web.port, requests=posts, total=requests, clients=clients))
    ended = ground.wait_for_relay(site.database) if site.is_ours else answers.ended
    servers = {name: (now - servers_before[name]) * 1000 / requests for name, now in ground.cpu_seconds().items()}
    web_ms = (web.cpu_seconds() - before) * 1000 / requests
    _verify(ground, site, requests, after=last, owners=min(requests, USERS) if tokens else 1)
    return Creates(
        per_second=requests / (ended - answers.began),
        p50_ms=answers.ms(50),
        p99_ms=answers.ms(99),
        web_ms=web_ms,
        servers_ms=servers,
        clients_ms=answers.cpu_seconds * 1000 / requests,
    )


def _verify(ground: Ground, site: Site, requests: int, *, after: int, owners: int) -> None:
    query = sql.SQL("SELECT id, owner_id FROM {} WHERE id > %s").format(site.tasks)
    owner_of = dict(ground.database(site.database).execute(query, [after]).fetchall())
    sent = site.queue.take(requests)
    if len(owner_of) != requests or sorted(sent) != sorted(owner_of):
        raise RuntimeError(
            f"{site.name}: {requests} creates, {len(owner_of)} tasks, {len(sent)} messages of {len(set(sent))} tasks"
        )
    if len(set(owner_of.values())) != owners:
        raise RuntimeError(f"{site.name}: {requests} creates by {owners} users, tasks of {len(set(owner_of.values()))}")


def _beside(
    name: str, mine: list[Creates], theirs: list[Creates], *, by: str = "", goals: Goals | None = None
) -> list[Figure]:
    rate, p99 = goals or (BY_ONE if name == LESSON else (None, None))
    servers = (
        f"a create, ours: {_servers(mine)}; theirs: {_servers(theirs)}; clients {_median(mine, 'clients_ms'):.2f} ms"
    )
    return [
        _figure("per_second", f"creates a second{by}, of {name}", mine, theirs, goals=rate),
        _figure("p50_ms", f"p50 of a create{by}, of {name}", mine, theirs),
        _figure("p99_ms", f"p99 of a create{by}, of {name}", mine, theirs, goals=p99),
        _figure("web_ms", f"processor time of the web server{by}, of {name}", mine, theirs, remark=servers),
    ]


def _figure(  # noqa: PLR0913 – one line each of a table
    attribute: str,
    name: str,
    mine: list[Creates],
    theirs: list[Creates],
    *,
    goals: tuple[float, float] | None = None,
    remark: str = "",
) -> Figure:
    a, b = ([getattr(each, attribute) for each in rounds] for rounds in (mine, theirs))
    goal, floor = goals or (None, None)
    return beside(name, a, b, UNITS[attribute], goal=goal, floor=floor, remark=remark)


def _servers(rounds: list[Creates]) -> str:
    medians = {name: statistics.median(each.servers_ms[name] for each in rounds) for name in rounds[0].servers_ms}
    return ", ".join(f"{name} {ms:.2f} ms" for name, ms in medians.items())


def _median(rounds: list[Creates], attribute: str) -> float:
    values: list[float] = [getattr(each, attribute) for each in rounds]
    return statistics.median(values)
