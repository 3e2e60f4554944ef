"""Clients follow the activity over real HTTP, from real workers, through broken connections."""

import json
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from project.local.demo import Walk
from project.local.servers.process import wait_until

pytestmark = pytest.mark.integration

CLIENTS = 50
TASKS = 60
TIMEOUT_SECONDS = 60.0


class Follower:
    """A client that loses its connection at intervals, and resumes where it was."""

    def __init__(self, client: httpx.Client, *, since: int, chance: random.Random) -> None:
        self.seen: list[int] = []
        self.reconnects = -1
        self._client = client
        self._last = since
        self._chance = chance
        self._pause = threading.Event()

    def follow(self, until: Callable[[int], bool]) -> None:
        while not until(self._last):
            self.reconnects += 1
            try:
                self._follow_once(until)
            except httpx.HTTPStatusError as error:
                # The places of connections that were lost a moment ago may not be free yet.
                if error.response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    raise
                self._pause.wait(0.1)

    def _follow_once(self, until: Callable[[int], bool]) -> None:
        for event in events(self._client, self._last):
            self.seen.append(event["id"])
            self._last = event["id"]
            if until(self._last) or self._chance.random() < 0.1:
                break


def events(client: httpx.Client, since: int) -> Iterator[dict[str, Any]]:
    headers = {"Last-Event-ID": str(since)}  # and no Accept that names a stream: a refusal is then an error
    with client.stream("GET", "activity/stream/", headers=headers, timeout=TIMEOUT_SECONDS) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def latest(walk: Walk) -> int:
    return int(walk.client.get("activity/").json()["results"][0]["id"])


def create(walk: Walk, count: int) -> list[int]:
    answers = [walk.client.post("tasks/", json={"title": f"Kuzatuv {number}"}) for number in range(count)]
    return [answer.json()["id"] for answer in answers]


@pytest.fixture
def new_client(walk: Walk) -> Iterator[Callable[[], httpx.Client]]:
    clients: list[httpx.Client] = []

    def make() -> httpx.Client:
        headers = {"Authorization": walk.client.headers["Authorization"]}
        clients.append(httpx.Client(base_url=walk.stack.url, headers=headers, timeout=TIMEOUT_SECONDS))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_fifty_clients_see_each_event_once_however_often_they_come_back(
    walk: Walk, new_client: Callable[[], httpx.Client]
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed={seed}")
    create(walk, 1)
    assert wait_until(lambda: bool(walk.client.get("activity/").json()["results"]), timeout_seconds=TIMEOUT_SECONDS)
    since = latest(walk)
    is_over = threading.Event()
    last = [0]
    followers = [Follower(new_client(), since=since, chance=random.Random(seed + n)) for n in range(CLIENTS)]

    def until(seen: int) -> bool:
        return is_over.is_set() and seen >= last[0]

    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(follower.follow, until) for follower in followers]
        tasks = create(walk, TASKS)
        logged: dict[str, str | int] = {"event": "task.created", "page_size": 100}

        def all_are_logged() -> bool:
            rows = walk.client.get("activity/", params=logged).json()["results"]
            return {row["task_id"] for row in rows} >= set(tasks)

        assert wait_until(all_are_logged, timeout_seconds=TIMEOUT_SECONDS)
        final = create(walk, 1)[0]
        assert wait_until(lambda: has_logged(walk, final), timeout_seconds=TIMEOUT_SECONDS)
        last[0] = latest(walk)
        is_over.set()
        create(walk, 1)  # ends the wait of a follower that had passed the last event before it was named
        for each in running:
            each.result(TIMEOUT_SECONDS)

    rows = walk.client.get("activity/", params={"page_size": 100}).json()["results"]
    expected = sorted(row["id"] for row in rows if since < row["id"] <= last[0])
    assert len(expected) >= TASKS + 1
    for follower in followers:
        assert len(follower.seen) == len(set(follower.seen)), "an event came twice"
        assert sorted(seen for seen in follower.seen if seen <= last[0]) == expected
    assert sum(follower.reconnects for follower in followers) > 0


def has_logged(walk: Walk, task: int) -> bool:
    rows = walk.client.get(f"tasks/{task}/activity/").json()["results"]
    return [row["status"] for row in rows] == ["logged"]


def test_the_places_of_clients_that_vanish_are_given_back(walk: Walk, new_client: Callable[[], httpx.Client]) -> None:
    places = int(walk.stack.environment["STREAM_CLIENTS"])

    def is_refused(client: httpx.Client) -> bool:
        with client.stream("GET", "activity/stream/") as answer:
            return answer.status_code == httpx.codes.SERVICE_UNAVAILABLE

    held = [new_client() for _ in range(places)]
    answers = [client.send(client.build_request("GET", "activity/stream/"), stream=True) for client in held]
    taken = [answer for answer in answers if answer.status_code == httpx.codes.OK]
    assert taken
    assert is_refused(new_client())
    assert create(walk, 1), "other requests are answered all the same"
    for client in held:
        client.close()
    assert wait_until(lambda: not is_refused(new_client()), timeout_seconds=TIMEOUT_SECONDS)


def test_a_pending_event_is_shown_with_its_state_while_the_workers_are_stopped(walk: Walk) -> None:
    walk.stack.supervisor.stop_program("worker")
    try:
        task = create(walk, 1)[0]
        walk.client.patch(f"tasks/{task}/", json={"completed": True})

        def trail() -> list[tuple[str, str, str | None]]:
            rows = walk.client.get(f"tasks/{task}/activity/").json()["results"]
            return [(row["event"], row["status"], row["state"]) for row in rows]

        waiting: list[tuple[str, str, str | None]] = [
            ("task.updated", "pending", "published"),
            ("task.created", "pending", "published"),
        ]
        assert wait_until(lambda: trail() == waiting, timeout_seconds=TIMEOUT_SECONDS), trail()
    finally:
        walk.stack.supervisor.start_program("worker")
    logged: list[tuple[str, str, str | None]] = [("task.updated", "logged", None), ("task.created", "logged", None)]
    assert wait_until(lambda: trail() == logged, timeout_seconds=TIMEOUT_SECONDS), trail()
    assert "is logged once" in walk.stack.manage("activity", "verify", "--task", str(task))
