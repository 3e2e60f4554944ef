"""What a million tasks cost: the same requests and creates of two web servers of ours, with many tasks and with few."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

from bench import load
from bench.create import create
from bench.figures import Figure, in_turns, ratio
from bench.ground import Ground, Running
from bench.grown import RARE_DESCRIPTION, RARE_TITLE, grown
from bench.serve import Served, beside
from bench.sites import Site

MANY, FEW = 1_000_000, 1_000
REQUESTS, ROUNDS = 30, 5
MAX_SECONDS = 1.0
WARM_UP = 5
# A difference of a twentieth is looked for; single turns differ by half, and two web servers of the same code, as long
# as they live, by another twentieth: many short turns, and new servers for each few of them.
CREATES, TURNS = 250, 5
PAIRS_OF_SERVERS = 4
WARM_UP_CREATES = 100

SINCE = (datetime.now(UTC) - timedelta(seconds=500)).isoformat()
# Of what is there, the page after the first ten: only its server can say where that begins.
NEXT = "#next"
PAGES_BEFORE = 10
PATHS = {
    "first page": "/tasks/",
    "page 100": "/tasks/?page=100",
    "latest first": "/tasks/?ordering=-created_at",
    "open first": "/tasks/?ordering=completed",
    "completed first": "/tasks/?ordering=-completed",
    "completed ones": "/tasks/?completed=true",
    "an owner's": "/tasks/?owner=7",
    "an owner's, by name": "/tasks/?owner_username=user7",
    "an owner's completed ones": "/tasks/?completed=true&owner=7",
    "search for a rare title": f"/tasks/?search={quote(RARE_TITLE.split()[0])}",
    "search for a rare description": f"/tasks/?search={quote(RARE_DESCRIPTION)}",
    "search for two words": f"/tasks/?search={quote(RARE_TITLE)}",
    "first page, by cursor": "/tasks/?pagination=cursor",
    "next page, by cursor": f"/tasks/?pagination=cursor{NEXT}",
    "next page of the completed first, by cursor": f"/tasks/?pagination=cursor&ordering=-completed{NEXT}",
    "log": "/activity/",
    "next page of the log": f"/activity/?page_size=20{NEXT}",
    "log of a task": "/activity/?task=500",
    "log of an event": "/activity/?event=task.deleted",
    "log of a user": "/activity/?changed_by=user7",
    "a task's history": "/tasks/500/activity/",
    "one task": "/tasks/500/",
    "log since a time": f"/activity/?since={quote(SINCE)}",
}


def measure(ground: Ground) -> list[Figure]:
    many, few, none = (grown(ground, rows) for rows in (MANY, FEW, 0))
    with ground.webs({"many": many, "few": few}) as webs:
        figures = [_read(name, path, webs) for name, path in PATHS.items()]
    return [*figures, *_creates(ground, {"many": many, "none": none})]


def _read(name: str, path: str, webs: dict[str, Running]) -> Figure:
    paths = {size: _resolve(web, path) for size, web in webs.items()}
    answers = (load.read(web.port, paths[size]) for size, web in webs.items())
    many, few = (len(answer.get("results", [answer])) for answer in answers)
    if not many == few > 0:
        raise RuntimeError(f"{path} shows {many} of many and {few} of few")

    def p50_ms(size: str, requests: int = REQUESTS) -> float:
        ask, port = load.get(paths[size]), webs[size].port
        return load.run(port, [ask], total=requests, clients=1, max_seconds=MAX_SECONDS).p50_ms

    for size in webs:
        p50_ms(size, WARM_UP)
    p50 = in_turns(list(webs), ROUNDS, p50_ms)
    title, shown = f"{name}: p50, of that at {FEW:,} tasks", path.partition("since=")[0]
    return ratio(title, p50["many"], p50["few"], f"ms: {shown}", wanted=(1.3, 2.0))


def _resolve(web: Running, path: str) -> str:
    if not path.endswith(NEXT):
        return path
    address = path.removesuffix(NEXT)
    for _ in range(PAGES_BEFORE):
        parts = urlsplit(load.read(web.port, address)["next"])
        address = f"{parts.path}?{parts.query}"
    return address


def _creates(ground: Ground, sites: dict[str, Site]) -> list[Figure]:
    pairs = [_with_new_servers(ground, sites) for _ in range(PAIRS_OF_SERVERS)]
    turns = {size: [served for pair in pairs for served in pair[size]] for size in sites}
    rate = f"creates a second at {MANY:,} tasks, of those in an empty database"
    busy = "processor time of such a create, web server and PostgreSQL, of one in an empty database"
    return [
        beside("per_second", rate, turns["many"], turns["none"], (0.95, 0.9)),
        beside("busy_ms", busy, turns["many"], turns["none"]),
    ]


def _with_new_servers(ground: Ground, sites: dict[str, Site]) -> dict[str, list[Served]]:
    with ground.webs(sites) as webs:

        def at(size: str, requests: int = CREATES) -> Served:
            return create(ground, sites[size], webs[size], requests=requests)

        for size in sites:
            at(size, WARM_UP_CREATES)
        return in_turns(list(sites), TURNS, at)
