"""Committed means logged, exactly once, whatever is killed, frozen or cut meanwhile.

A stack of its own, because it is broken on purpose: real web and worker processes over RabbitMQ and PostgreSQL.
"""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from project.management.commands.prepare import PASSWORD, USERNAME
from project.servers.ports import free_port
from project.servers.postgresql import PrivatePostgresql
from project.servers.process import wait_until
from project.servers.rabbitmq import PrivateRabbitmq
from project.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

CLIENTS = 4
DELIVERED_TIMEOUT_SECONDS = 120.0


class Load:
    """Clients that create tasks until told to stop, and remember which were answered with 201."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.created: set[int] = set()
        self.refused: list[int] = []
        self._stop = threading.Event()
        self._token = ""
        self._pool = ThreadPoolExecutor(CLIENTS)

    def __enter__(self) -> "Load":
        assert wait_until(self._web_answers, timeout_seconds=60), "the web server does not come back"
        login = {"username": USERNAME, "password": PASSWORD}
        self._token = httpx.post(f"{self.stack.url}api/token/", json=login, timeout=30).json()["access"]
        self._clients = [self._pool.submit(self._create_until_stopped) for _ in range(CLIENTS)]
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        for client in self._clients:
            client.result()

    def wait_for(self, count: int) -> None:
        """Wait until `count` more tasks were created."""
        enough = len(self.created) + count
        assert wait_until(lambda: len(self.created) >= enough, timeout_seconds=60), (len(self.created), self.refused)

    def _web_answers(self) -> bool:
        try:
            return httpx.get(f"{self.stack.url}health/ready/", timeout=30).is_success
        except httpx.TransportError:
            return False

    def _create_until_stopped(self) -> None:
        with httpx.Client(base_url=self.stack.url, headers={"Authorization": f"Bearer {self._token}"}) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post("tasks/", json={"title": "Yuk"}, timeout=30)
                except httpx.TransportError:
                    continue  # a web process was killed under it; whether the task is there is for the log to say
                if answer.status_code == httpx.codes.CREATED:
                    self.created.add(answer.json()["id"])
                else:
                    self.refused.append(answer.status_code)


@pytest.fixture(scope="module")
def database(postgresql: PrivatePostgresql) -> Iterator[psycopg.Connection[Any]]:
    postgresql.create_database("guarantee")
    with psycopg.connect(postgresql.url("guarantee"), autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def broken(
    postgresql: PrivatePostgresql,
    rabbitmq: PrivateRabbitmq,
    database: psycopg.Connection[Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """A stack whose parts may be killed: supervisord starts them again."""
    directory = tmp_path_factory.mktemp("guarantee")
    stack = Stack(
        directory=directory / "log",
        port=free_port(),
        rabbitmq=PrivateRabbitmq(
            installation=rabbitmq.installation, directory=directory / "rabbitmq", plugins=(), heartbeat_seconds=3
        ),
        variables={
            "ENV_FILE": os.devnull,
            "DJANGO_SETTINGS_MODULE": "settings.development",
            "DATABASE_URL": postgresql.url("guarantee"),
            "LOG_FILE": str(directory / "debug.log"),
            "THROTTLE_USER": "100000/minute",
        },
    )
    with stack:
        yield stack


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(2**32)))
    print(f"CHAOS_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def assert_all_is_logged(broken: Stack, database: psycopg.Connection[Any]) -> Callable[[Load], None]:
    def count(query: str) -> int:
        row = database.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def check(load: Load) -> None:
        drained = wait_until(
            lambda: count("SELECT count(*) FROM outbox_outboxmessage") == 0, timeout_seconds=DELIVERED_TIMEOUT_SECONDS
        )
        assert drained, database.execute("SELECT state, count(*) FROM outbox_outboxmessage GROUP BY state").fetchall()
        logged = [row[0] for row in database.execute("SELECT task_id FROM actors_activity ORDER BY id").fetchall()]
        committed = {row[0] for row in database.execute("SELECT id FROM tasks_task").fetchall()}
        assert load.created <= committed
        assert len(logged) == len(set(logged)), "an activity was logged twice"
        assert set(logged) == committed
        lines = Path(broken.variables["LOG_FILE"]).read_text("utf-8")
        assert all(f"(ID: {task_id}, Owner: user1)" in lines for task_id in load.created)

    return check


Check = Callable[[Load], None]


def kill_one_of(stack: Stack, program: str, chance: random.Random) -> None:
    """Kill a process of a program's pool, or its master, as soon as there is one."""

    def kill() -> bool:
        try:
            master = psutil.Process(stack.supervisor.pid(program) or -1)
            chance.choice([master, *master.children()]).kill()
        except (psutil.NoSuchProcess, ValueError):
            return False
        return True

    assert wait_until(kill, timeout_seconds=60), f"{program} does not come back"


def test_kill_9_of_workers(broken: Stack, chance: random.Random, assert_all_is_logged: Check) -> None:
    with Load(broken) as load:
        for _ in range(3):
            load.wait_for(chance.randint(10, 60))
            kill_one_of(broken, "worker", chance)
    assert_all_is_logged(load)


def test_kill_9_of_web_processes(broken: Stack, chance: random.Random, assert_all_is_logged: Check) -> None:
    with Load(broken) as load:
        for _ in range(3):
            load.wait_for(chance.randint(10, 60))
            kill_one_of(broken, "web", chance)
        load.wait_for(10)
    assert_all_is_logged(load)


def test_kill_9_of_rabbitmq(broken: Stack, chance: random.Random, assert_all_is_logged: Check) -> None:
    with Load(broken) as load:
        load.wait_for(chance.randint(10, 60))
        os.kill(broken.supervisor.pid("rabbitmq"), signal.SIGKILL)
        load.wait_for(50)
    assert load.refused == []
    assert_all_is_logged(load)


def test_creates_go_on_while_rabbitmq_is_frozen(broken: Stack, assert_all_is_logged: Check) -> None:
    with Load(broken) as load:
        load.wait_for(20)
        node = broken.supervisor.pid("rabbitmq")
        os.kill(node, signal.SIGSTOP)
        try:
            load.wait_for(100)
        finally:
            os.kill(node, signal.SIGCONT)
    assert load.refused == []
    assert_all_is_logged(load)


def test_rabbitmq_is_away_for_as_long_as_it_likes(broken: Stack, assert_all_is_logged: Check) -> None:
    broken.supervisor.stop_program("rabbitmq")
    with Load(broken) as load:
        load.wait_for(200)
    assert load.refused == []
    broken.supervisor.start_program("rabbitmq")
    assert_all_is_logged(load)


def test_connections_to_the_database_are_cut(
    broken: Stack, chance: random.Random, database: psycopg.Connection[Any], assert_all_is_logged: Check
) -> None:
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'guarantee' AND pid <> pg_backend_pid()"
    )
    with Load(broken) as load:
        for _ in range(5):
            load.wait_for(chance.randint(5, 30))
            database.execute(cut)
    assert_all_is_logged(load)


def test_a_pool_whose_master_is_killed_leaves_no_worker_behind(broken: Stack, assert_all_is_logged: Check) -> None:
    master = psutil.Process(broken.supervisor.pid("worker"))
    assert wait_until(lambda: len(master.children()) == 2, timeout_seconds=30)
    workers = master.children()
    with Load(broken) as load:
        load.wait_for(10)
        master.kill()
        assert wait_until(lambda: not any(worker.is_running() for worker in workers), timeout_seconds=60)
    assert_all_is_logged(load)
