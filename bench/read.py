"""Measures `GET`, ours beside the lesson's: pages of 5 and of 100 among 1,000 tasks, and one task; all by one user."""

from dataclasses import dataclass

from bench import load
from bench.figures import Figure, beside
from bench.ground import Ground, Running
from bench.sites import LESSON, OURS, Site
from bench.sizes import Extent
from bench.turns import in_turns

TASKS = 1_000
WARM_UP = 80
PAGES = {"page of 5": ("/tasks/", 5), "page of 100": ("/tasks/?page_size=100", 100), "one task": ("/tasks/500/", None)}

OUR_FILL = """
INSERT INTO tasks_task (title, description, completed, owner_id, created_at, updated_at)
SELECT 'Vazifa ' || number, 'Bench', number %% 3 = 0, 1, now() - number * interval '1 minute', now()
FROM generate_series(1, %(tasks)s::int) AS number
"""
THEIR_FILL = """
INSERT INTO peers_task (title, description, completed, owner_id, created_at)
SELECT 'Vazifa ' || number, 'Bench', number %% 3 = 0, 1, now() - number * interval '1 minute'
FROM generate_series(1, %(tasks)s::int) AS number
"""


@dataclass(frozen=True, kw_only=True)
class Reads:
    """One site's part of a round."""

    per_second: float

    p99_ms: float

    web_ms: float
    """Of a core, a request: all processes and threads of the web server."""


def measure(ground: Ground, extent: Extent) -> list[Figure]:
    names = [OURS, LESSON]
    for name in names:
        fill(ground, ground.site(name))
    with ground.webs(names) as webs:
        return [figure for page in extent.pages for figure in _measure(webs, page, extent)]


def _measure(webs: dict[str, Running], page: str, extent: Extent) -> list[Figure]:
    for web in webs.values():
        _verify(web, page)
        _read(web, page, WARM_UP)
    requests = extent.reads // 2 if page == "page of 100" else extent.reads
    rounds = in_turns(list(webs), extent.request_rounds, lambda name: _read(webs[name], page, requests))
    return _beside(page, rounds[OURS], rounds[LESSON])


def fill(ground: Ground, site: Site) -> None:
    """Put a thousand tasks into a site's database."""
    ground.empty(site)
    database = ground.database(site.database)
    database.execute(OUR_FILL if site.is_ours else THEIR_FILL, {"tasks": TASKS})
    database.execute("VACUUM ANALYZE")


def _read(web: Running, page: str, requests: int) -> Reads:
    before = web.cpu_seconds()
    asked = (load.get(web.port, PAGES[page][0]),)
    answers = load.run(load.Load(port=web.port, requests=asked, total=requests))
    web_ms = (web.cpu_seconds() - before) * 1000 / requests
    return Reads(per_second=answers.per_second, p99_ms=answers.ms(99), web_ms=web_ms)


def _verify(web: Running, page: str) -> None:
    path, size = PAGES[page]
    answer = load.read(web.port, path)
    if size is None:
        assert answer["id"] == 500, answer
    elif (answer["count"], len(answer["results"])) != (TASKS, size):
        raise RuntimeError(f"{path} shows {len(answer['results'])} of {answer['count']} tasks, not {size} of {TASKS}")


def _beside(page: str, mine: list[Reads], theirs: list[Reads]) -> list[Figure]:
    def figure(attribute: str, name: str, unit: str, goal: float | None = None, floor: float | None = None) -> Figure:
        a, b = ([getattr(each, attribute) for each in rounds] for rounds in (mine, theirs))
        return beside(name, a, b, unit, goal=goal, floor=floor)

    return [
        figure("per_second", f"{page}: reads a second, of {LESSON}", "a second", 3.0, 2.0),
        figure("p99_ms", f"{page}: p99, of {LESSON}", "ms"),
        figure("web_ms", f"{page}: processor time of the web server, of {LESSON}", "ms of a core a request"),
    ]
