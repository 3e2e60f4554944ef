"""POST /tasks/, ours beside theirs: how many a second, how late the last of a hundred, and what a create costs.

Our clock stops when the last message is in RabbitMQ, confirmed; theirs with the last answer, because they know no more.
"""

import statistics
from dataclasses import dataclass

from psycopg import sql

from bench import load
from bench.figures import Figure, beside
from bench.ground import Ground, Running
from bench.sites import LESSON, OURS, Site
from bench.sizes import CLIENTS, Extent
from bench.turns import in_turns

WARM_UP = 160
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
    with ground.webs(names) as webs:
        for name in names:
            create(ground, ground.site(name), webs[name], requests=WARM_UP)
        rounds = in_turns(
            names,
            extent.request_rounds,
            lambda name: create(ground, ground.site(name), webs[name], requests=extent.creates),
        )
    return [figure for name in extent.peers for figure in _beside(name, rounds[OURS], rounds[name])]


def create(ground: Ground, site: Site, web: Running, *, requests: int, clients: int = CLIENTS) -> Creates:
    """Create tasks as fast as the answers come, in an empty database.

    Raises:
        RuntimeError: a task or a message is missing or double.
    """
    ground.empty(site)
    return create_more(ground, site, web, requests=requests, clients=clients)


def create_more(ground: Ground, site: Site, web: Running, *, requests: int, clients: int = CLIENTS) -> Creates:
    """Create tasks beside those that are there; no message may be.

    Raises:
        RuntimeError: a task or a message is missing or double.
    """
    last = ground.last_id(site, site.tasks)
    before, servers_before = web.cpu_seconds(), ground.cpu_seconds()
    answers = load.run(load.Load(port=web.port, requests=(load.post(web.port),), total=requests, clients=clients))
    ended = ground.wait_for_relay(site.database) if site.is_ours else answers.ended
    servers = {name: (now - servers_before[name]) * 1000 / requests for name, now in ground.cpu_seconds().items()}
    web_ms = (web.cpu_seconds() - before) * 1000 / requests
    _verify(ground, site, requests, after=last)
    return Creates(
        per_second=requests / (ended - answers.began),
        p50_ms=answers.ms(50),
        p99_ms=answers.ms(99),
        web_ms=web_ms,
        servers_ms=servers,
        clients_ms=answers.cpu_seconds * 1000 / requests,
    )


def _verify(ground: Ground, site: Site, requests: int, *, after: int) -> None:
    query = sql.SQL("SELECT id FROM {} WHERE id > %s").format(site.tasks)
    tasks = [row[0] for row in ground.database(site.database).execute(query, [after]).fetchall()]
    told = site.queue.take(requests)
    if len(tasks) != requests or sorted(told) != sorted(tasks):
        raise RuntimeError(
            f"{site.name}: {requests} creates, {len(tasks)} tasks, {len(told)} messages of {len(set(told))} tasks"
        )


def _beside(name: str, mine: list[Creates], theirs: list[Creates]) -> list[Figure]:
    is_lesson = name == LESSON
    servers = (
        f"a create, ours: {_servers(mine)}; theirs: {_servers(theirs)}; clients {_median(mine, 'clients_ms'):.2f} ms"
    )
    return [
        _figure("per_second", f"creates a second, of {name}", mine, theirs, goals=(2.0, 1.3) if is_lesson else None),
        _figure("p50_ms", f"p50 of a create, of {name}", mine, theirs),
        _figure("p99_ms", f"p99 of a create, of {name}", mine, theirs, goals=(0.6, 1.0) if is_lesson else None),
        _figure("web_ms", f"processor time of the web server, of {name}", mine, theirs, remark=servers),
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
