"""Measures `GET`, ours beside the lesson's: pages of 5 and of 100 among 1,000 tasks, and one task; all by one user."""

from bench import load
from bench.figures import Figure, in_turns
from bench.ground import Ground, Running
from bench.peers.site import LESSON
from bench.serve import ROUNDS, Served, beside, serve
from bench.sites import OURS

TASKS = 1_000
REQUESTS, WARM_UP = 300, 80
PAGES = {"page of 5": ("/tasks/", 5), "page of 100": ("/tasks/?page_size=100", 100), "one task": ("/tasks/500/", None)}


def measure(ground: Ground) -> list[Figure]:
    sites = {name: ground.site(name) for name in (OURS, LESSON)}
    with ground.webs(sites) as webs:
        for name, site in sites.items():
            ground.empty(site)
            load.create(webs[name].port, TASKS)
            ground.database(site.database).execute("VACUUM ANALYZE")
        return [figure for page in PAGES for figure in _measure(ground, webs, page)]


def _measure(ground: Ground, webs: dict[str, Running], page: str) -> list[Figure]:
    def read(name: str, requests: int = REQUESTS) -> Served:
        return serve(ground, webs[name], [load.get(PAGES[page][0])], total=requests)

    for name, web in webs.items():
        _verify(web, page)
        read(name, WARM_UP)
    rounds = in_turns(list(webs), ROUNDS, read)
    mine, theirs = rounds[OURS], rounds[LESSON]
    return [
        beside("per_second", f"{page}: reads a second, of {LESSON}", mine, theirs, (3.0, 2.0)),
        beside("p99_ms", f"{page}: p99, of {LESSON}", mine, theirs),
        beside("web_ms", f"{page}: processor time of the web server, of {LESSON}", mine, theirs),
    ]


def _verify(web: Running, page: str) -> None:
    path, size = PAGES[page]
    answer = load.read(web.port, path)
    if size is None:
        assert answer["id"] == 500, answer
    elif (answer["count"], len(answer["results"])) != (TASKS, size):
        raise RuntimeError(f"{path} shows {len(answer['results'])} of {answer['count']} tasks, not {size} of {TASKS}")
