"""What a million tasks cost: the same requests and creates of two web servers of ours, with many tasks and with few."""

import statistics
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

from bench import load
from bench.create import Creates, create_more
from bench.figures import Figure, number, ratios
from bench.ground import Ground, Running
from bench.grown import RARE_DESCRIPTION, RARE_TITLE, grown
from bench.sites import Site
from bench.sizes import Extent
from bench.turns import in_turns

MANY, FEW = 1_000_000, 1_000
REQUESTS, ROUNDS = 30, 5
MAX_SECONDS = 1.0
WARM_UP = 5
# A difference of a twentieth is looked for; single turns differ by half, and two web servers of the same code, as long
# as they live, by another twentieth: many short turns, and new servers for each few of them.
CREATES, TURNS = 250, 5
PAIRS_OF_SERVERS = 5
WARM_UP_CREATES = 100

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
}


def measure(ground: Ground, extent: Extent) -> list[Figure]:
    began = time.monotonic()
    sites = {"many": grown(ground, MANY), "few": grown(ground, FEW), "none": grown(ground, 0)}
    ground.report(f"  {MANY:,} tasks were made in {time.monotonic() - began:.0f} s")
    with ground.web(sites["many"], "web-many") as many, ground.web(sites["few"], "web-few") as few:
        webs = {"many": many, "few": few}
        figures = [_read(name, path, webs) for name, path in _paths().items()]
    return [*figures, *_creates(ground, sites)]


def _paths() -> dict[str, str]:
    since = (datetime.now(UTC) - timedelta(seconds=500)).isoformat()
    return {**PATHS, "log since a time": f"/activity/?since={quote(since)}"}


def _read(name: str, path: str, webs: dict[str, Running]) -> Figure:
    paths = {size: _resolve(webs[size], path) for size in ("many", "few")}
    shown = {size: load.read(webs[size].port, paths[size]) for size in paths}
    lengths = {size: len(answer.get("results", [answer])) for size, answer in shown.items()}
    if not lengths["many"] == lengths["few"] > 0:
        raise RuntimeError(f"{path} shows {lengths['many']} of many and {lengths['few']} of few")
    for size in lengths:
        _p50_ms(webs[size], paths[size], WARM_UP)
    p50 = in_turns(list(lengths), ROUNDS, lambda size: _p50_ms(webs[size], paths[size], REQUESTS))
    return Figure(
        name=f"{name}: p50, of that at {FEW:,} tasks",
        rounds=ratios(p50["many"], p50["few"]),
        unit="×",
        goal=1.3,
        floor=2.0,
        remark=f"{path.partition('since=')[0]}: {number(min(p50['many']))} and {number(min(p50['few']))} ms at best",
    )


def _resolve(web: Running, path: str) -> str:
    if not path.endswith(NEXT):
        return path
    address = path.removesuffix(NEXT)
    for _ in range(PAGES_BEFORE):
        parts = urlsplit(load.read(web.port, address)["next"])
        address = f"{parts.path}?{parts.query}"
    return address


def _p50_ms(web: Running, path: str, requests: int) -> float:
    asked = (load.get(web.port, path),)
    answers = load.run(load.Load(port=web.port, requests=asked, total=requests, clients=1, max_seconds=MAX_SECONDS))
    return answers.ms(50)


def _creates(ground: Ground, sites: dict[str, Site]) -> list[Figure]:
    turns: dict[str, list[Creates]] = {"many": [], "none": []}
    for _ in range(PAIRS_OF_SERVERS):
        for size, creates in _with_new_servers(ground, sites).items():
            turns[size] += creates
    rate = {size: [one.per_second for one in creates] for size, creates in turns.items()}
    busy = {size: [_busy_ms(one) for one in creates] for size, creates in turns.items()}
    return [
        Figure(
            name=f"creates a second at {MANY:,} tasks, of those in an empty database",
            rounds=ratios(rate["many"], rate["none"]),
            unit="×",
            goal=0.95,
            floor=0.9,
            remark=f"{number(max(rate['many']))} and {number(max(rate['none']))} a second at best",
        ),
        Figure(
            name="processor time of such a create, web server and PostgreSQL, of one in an empty database",
            rounds=ratios(busy["many"], busy["none"]),
            unit="×",
            remark=f"{number(statistics.median(busy['many']))} and {number(statistics.median(busy['none']))} ms",
        ),
    ]


def _with_new_servers(ground: Ground, sites: dict[str, Site]) -> dict[str, list[Creates]]:
    with ground.web(sites["many"], "web-many") as many, ground.web(sites["none"], "web-none") as none:
        webs = {"many": many, "none": none}

        def create(size: str, requests: int = CREATES) -> Creates:
            ground.empty_messages(sites[size])
            return create_more(ground, sites[size], webs[size], requests=requests)

        for size in webs:
            create(size, WARM_UP_CREATES)
        return in_turns(list(webs), TURNS, create)


def _busy_ms(creates: Creates) -> float:
    return creates.web_ms + creates.servers_ms["PostgreSQL"]
