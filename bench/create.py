"""Measures `POST /tasks/`, ours beside the peers': rate, p50, p99 and processor time, by one user and by many.

The clock of ours stops when RabbitMQ has confirmed the last message; that of a peer with the last answer, since nothing
tells when its message was accepted.
"""

from collections.abc import Sequence
from itertools import cycle, islice

from psycopg import sql

from bench import load
from bench.figures import Figure, Wanted, in_turns
from bench.ground import Ground, Running
from bench.peers.site import LESSON
from bench.serve import ROUNDS, Served, beside, serve
from bench.sites import OURS, Site
from bench.sizes import CLIENTS

REQUESTS, WARM_UP = 400, 160
USERS = 1_000
OTHERS = ("celery-rabbitmq", "dramatiq")

# Of the rate and of the p99. With a new token for each request ours looks users up as often as the lesson's, and writes
# a row of the outbox as well; the floor is that it is not slower for it.
WANTED: dict[tuple[str, int], tuple[Wanted, Wanted | None]] = {
    (LESSON, 1): ((2.0, 1.3), (0.6, 1.0)),
    (LESSON, USERS): ((1.3, 1.0), None),
}


def measure(ground: Ground, peers: Sequence[str] = (LESSON,), numbers: Sequence[int] = (1, USERS)) -> list[Figure]:
    """Return the figures beside each peer, by each number of users."""
    sites = {name: ground.site(name) for name in (OURS, *peers)}
    users = {name: cycle(ground.add_users(site, USERS)) for name, site in sites.items()}
    points = [(name, number) for number in numbers for name in sites]
    with ground.webs(sites) as webs:

        def at(point: tuple[str, int], requests: int = REQUESTS) -> Served:
            name, number = point
            senders = list(islice(users[name], requests)) if number > 1 else []
            return create(ground, sites[name], webs[name], requests=requests, users=senders)

        for point in points:
            at(point, WARM_UP)
        rounds = in_turns(points, ROUNDS, at)
    theirs = [point for point in points if point[0] != OURS]
    return [figure for point in theirs for figure in _figures(*point, rounds[OURS, point[1]], rounds[point])]


def create(  # noqa: PLR0913 – how the load differs from the usual one
    ground: Ground, site: Site, web: Running, *, requests: int, clients: int = CLIENTS, users: Sequence[int] = ()
) -> Served:
    """Create tasks as fast as the answers come; if users are given, by them in turns, with a new token each time.

    Raises:
        RuntimeError: a task or a message is missing or double, or a task is not its sender's.
    """
    ground.empty_messages(site)
    last = ground.last_id(site, site.tasks)
    posts = [load.post(load.token(user)) for user in users] or [load.post()]
    published_in = site.database if site.is_ours else None
    served = serve(ground, web, posts, total=requests, clients=clients, published_in=published_in)
    _verify(ground, site, requests, after=last, owners=min(requests, USERS) if users else 1)
    return served


def _verify(ground: Ground, site: Site, requests: int, *, after: int, owners: int) -> None:
    query = sql.SQL("SELECT id, owner_id FROM {} WHERE id > %s").format(site.tasks)
    owner_of = dict(ground.rows(query, after, database=site.database))
    sent = site.queue.take(requests)
    if len(owner_of) != requests or sorted(sent) != sorted(owner_of):
        raise RuntimeError(
            f"{site.name}: {requests} creates, {len(owner_of)} tasks, {len(sent)} messages of {len(set(sent))} tasks"
        )
    if len(set(owner_of.values())) != owners:
        raise RuntimeError(f"{site.name}: {requests} creates by {owners} users, tasks of {len(set(owner_of.values()))}")


def _figures(name: str, users: int, mine: list[Served], theirs: list[Served]) -> list[Figure]:
    by = f" by {users:,} users" if users > 1 else ""
    rate, p99 = WANTED.get((name, users), (None, None))
    return [
        beside("per_second", f"creates a second{by}, of {name}", mine, theirs, rate),
        beside("p50_ms", f"p50 of a create{by}, of {name}", mine, theirs),
        beside("p99_ms", f"p99 of a create{by}, of {name}", mine, theirs, p99),
        beside("web_ms", f"processor time of the web server{by}, of {name}", mine, theirs),
    ]
