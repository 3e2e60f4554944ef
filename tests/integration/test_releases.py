"""Two releases side by side on one database and the same queues: nothing is lost or doubled, and no client is refused.

The previous release is run with its own code, from git's history, and with the Python packages of this one: versions of
packages that differ between two releases are not tried.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString
from uuid import uuid4

import httpx
import psycopg
import pytest

from project.local.servers.ports import answers_http, free_port
from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.process import wait_until
from project.local.servers.rabbitmq import PrivateRabbitmq
from project.local.stack import ROOT, Stack
from tests.chaos.load import TASK, Load, log_in
from tests.previous_release import extract

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.timeout(600)]

A_FEW = 25
# More tasks than this at a time are a mass change (`tasks.history.versioning`), whose events have their own queue.
MANY = 150
TIMEOUT_SECONDS = 120.0
LINE = re.compile(r"\[Dramatiq\] .*\(ID: (\d+), Owner: \w+\)")
COMMITTED: LiteralString = """
SELECT id FROM tasks_task UNION SELECT task_id FROM actors_activity WHERE event = 'task.deleted'
"""

# Messages that cannot be run: the title is too long. One is dead after its first failure, the other after a retry.
POISON = """
from actors.activity import log_task_creation
for retries in (0, 1):
    options = {"max_retries": retries, "min_backoff": 20_000, "max_backoff": 20_000}
    log_task_creation.send_with_options(args=(0, "x" * 201, "user1"), **options)
"""


@dataclass(kw_only=True)
class Site:
    """One database and one virtual host of RabbitMQ, with the programs of both releases."""

    name: str

    postgresql: PrivatePostgresql

    rabbitmq: PrivateRabbitmq

    old: Stack

    new: Stack

    logs: tuple[Path, ...]

    loads: list[Load] = field(default_factory=list, init=False)

    def start(self, release: Stack, program: str) -> None:
        """Start web or worker of a release, and wait until it works."""
        before = self.consumers()
        release.supervisor.start_program(program)
        if program == "web":
            in_time = wait_until(lambda: answers_http(release.port, "/health/ready/"), timeout_seconds=TIMEOUT_SECONDS)
        else:
            in_time = wait_until(lambda: self.consumers() > before, timeout_seconds=TIMEOUT_SECONDS)
        assert in_time, release.supervisor.output.read_text("utf-8")[-4_000:]

    def stop(self, release: Stack, program: str) -> None:
        """Stop web or worker of a release, as an upgrade does."""
        release.supervisor.stop_program(program)

    @contextmanager
    def load(self, release: Stack) -> Iterator[Load]:
        """Have clients create, change and delete tasks through the web of a release; none of them is refused."""
        load = Load(release, pause_seconds=0.1)
        self.loads.append(load)
        with load:
            yield load
        assert (load.refused, load.cut) == ([], 0)

    def query(self, statement: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run one statement over a connection of its own and return its rows."""
        with psycopg.connect(self.postgresql.url(self.name), autocommit=True) as connection:
            return connection.execute(statement, parameters or None).fetchall()

    def owed(self, queue: str) -> int:
        """Return how many messages of a queue are not settled."""
        return int(self.query("SELECT count(*) FROM outbox_outboxmessage WHERE queue = %s", queue)[0][0])

    def wait_until_settled(self, queue: str) -> None:
        """Wait until a queue's messages are settled."""
        in_time = wait_until(lambda: self.owed(queue) == 0, timeout_seconds=TIMEOUT_SECONDS)
        assert in_time, self.query("SELECT actor, queue, state, attempt, error FROM outbox_outboxmessage LIMIT 20")

    def wait_for_states(self, wanted: dict[str, int]) -> None:
        """Wait until as many messages are in each of some states."""

        def are_there() -> bool:
            found = dict(self.query("SELECT state, count(*) FROM outbox_outboxmessage GROUP BY state"))
            return all(found.get(state, 0) == count for state, count in wanted.items())

        in_time = wait_until(are_there, timeout_seconds=TIMEOUT_SECONDS)
        assert in_time, self.query("SELECT actor, state, attempt, error FROM outbox_outboxmessage LIMIT 20")

    def consumers(self, queue: str = "activity") -> int:
        """Return how many worker processes consume a queue; both releases have the usual one."""
        listed = self.rabbitmq.rabbitmqctl("list_queues", "-p", self.name, "--no-table-headers", "name", "consumers")
        return sum(int(count) for name, count in map(str.split, listed.splitlines()) if name == queue)

    def messages(self) -> dict[str, int]:
        """Return how many messages each queue in RabbitMQ has."""
        listed = self.rabbitmq.rabbitmqctl("list_queues", "-p", self.name, "--no-table-headers", "name", "messages")
        return {name: int(count) for name, count in map(str.split, listed.splitlines())}

    def assert_nothing_is_lost_or_doubled(self) -> None:
        """Wait until all is settled; compare what clients were answered with the tasks, and these with the log."""
        for queue in ("activity", "bulk"):
            self.wait_until_settled(queue)
        created = {task for load in self.loads for task in load.created}
        committed = {row[0] for row in self.query(COMMITTED)}
        activities = [row[0] for row in self.query("SELECT task_id FROM actors_activity WHERE event = 'task.created'")]
        assert created <= committed, "created, and not committed"
        assert sorted(activities) == sorted(committed), "a creation is logged twice, or not at all"
        lines = {int(match[1]) for log in self.logs for match in LINE.finditer(log.read_text("utf-8"))}
        assert committed <= lines
        self.new.manage("activity", "verify")
        assert wait_until(lambda: not any(self.messages().values()), timeout_seconds=TIMEOUT_SECONDS), self.messages()


@pytest.fixture(scope="module")
def previous_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return extract(tmp_path_factory.mktemp("previous-release"))


@pytest.fixture
def site(
    request: pytest.FixtureRequest,
    previous_release: Path,
    postgresql: PrivatePostgresql,
    rabbitmq: PrivateRabbitmq,
    tmp_path: Path,
) -> Iterator[Site]:
    """A database and queues that the previous release has made."""
    name = re.sub(r"\W", "_", request.node.name)[-50:]
    postgresql.create_database(name)
    rabbitmq.rabbitmqctl("add_vhost", name)
    rabbitmq.rabbitmqctl("set_permissions", "-p", name, rabbitmq.username, ".*", ".*", ".*")

    def stack(release: str, root: Path) -> Stack:
        variables = {
            "ENV_FILE": "/dev/null",
            "DJANGO_SETTINGS_MODULE": "settings.development",
            "DATABASE_URL": postgresql.url(name),
            "LOG_FILE": str(tmp_path / f"{release}.log"),
            "THROTTLE_USER": "off",
            "THROTTLE_ANON": "off",
            "MIN_BACKOFF_MS": "100",
            "MAX_BACKOFF_MS": "200",
        }
        return Stack(
            directory=tmp_path / release,
            port=free_port(),
            rabbitmq_url=f"{rabbitmq.url}{name}",
            variables=variables,
            root=root,
        )

    old, new = stack("old", previous_release), stack("new", ROOT)
    logs = (tmp_path / "old.log", tmp_path / "new.log")
    old.manage("prepare")
    site = Site(name=name, postgresql=postgresql, rabbitmq=rabbitmq, old=old, new=new, logs=logs)
    try:
        yield site
    finally:
        old.stop()
        new.stop()
        rabbitmq.rabbitmqctl("delete_vhost", name)


def change_many(release: Stack, title: str) -> None:
    """Create many tasks over the API of a release, and change and delete them all by one call each."""
    token = log_in(release)
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=release.url, headers=headers, timeout=TIMEOUT_SECONDS) as client:
        client.post("tasks/bulk/", json=[{"title": title}] * MANY).raise_for_status()
    tasks = f"Task.objects.filter(title={title!r})"
    release.manage("shell", "-c", f"from tasks.models import Task; {tasks}.update(completed=True); {tasks}.delete()")


def test_a_release_is_rolled_out(site: Site) -> None:
    old, new = site.old, site.new
    site.start(old, "web")
    site.start(old, "worker")
    with site.load(old) as load:
        load.wait_for(A_FEW)
        new.manage("migrate")
        load.wait_for(A_FEW)
        site.start(new, "worker")
        load.wait_for(A_FEW)
        site.stop(old, "worker")
        load.wait_for(A_FEW)
        change_many(old, "of the old web")
        site.start(new, "web")
        with site.load(new) as load_of_new:
            load_of_new.wait_for(A_FEW)
            load.wait_for(A_FEW)
    site.stop(old, "web")
    change_many(new, "of the new web")
    site.assert_nothing_is_lost_or_doubled()


def test_a_release_is_rolled_back_without_its_migrations(site: Site) -> None:
    old, new = site.old, site.new
    new.manage("migrate")
    site.start(new, "worker")
    site.start(new, "web")
    with site.load(new) as load:
        load.wait_for(A_FEW)
        old.manage("migrate")  # as a container of the old release does before it starts
        site.start(old, "web")
        with site.load(old) as load_of_old:
            load_of_old.wait_for(A_FEW)
            load.wait_for(A_FEW)
            site.start(old, "worker")
            load.wait_for(A_FEW)
            load_of_old.wait_for(A_FEW)
            site.stop(new, "worker")
            change_many(new, "of the new web")
            load.wait_for(A_FEW)
    site.stop(new, "web")
    with site.load(old) as load:
        load.wait_for(A_FEW)
    change_many(old, "of the old web")
    site.wait_until_settled("activity")
    # What the new web has sent waits, if it is in a queue that the old workers do not know.
    if not site.consumers("bulk"):
        assert site.owed("bulk") == 3 * MANY
    site.start(new, "worker")
    site.assert_nothing_is_lost_or_doubled()


def client_of(release: Stack) -> httpx.Client:
    """Return a client that is signed in at the web of a release."""
    return httpx.Client(base_url=release.url, headers={"Authorization": f"Bearer {log_in(release)}"}, timeout=30)


def test_clients_may_turn_from_one_release_to_the_other(site: Site) -> None:
    site.new.manage("migrate")
    for release in (site.old, site.new):
        site.start(release, "web")
    site.start(site.new, "worker")
    with client_of(site.old) as old, client_of(site.new) as new:
        for first, then in ((old, new), (new, old)):
            key = {"Idempotency-Key": uuid4().hex}
            created, repeated = (client.post("tasks/", json=TASK, headers=key) for client in (first, then))
            assert (repeated.status_code, repeated.json()) == (201, created.json())
            address = f"tasks/{created.json()['id']}/"
            stale, etag = (client.get(address).headers["ETag"] for client in (first, then))
            assert then.patch(address, json={"completed": True}, headers={"If-Match": etag}).status_code == 200
            assert first.patch(address, json={"title": "x"}, headers={"If-Match": stale}).status_code == 412
    site.assert_nothing_is_lost_or_doubled()


@pytest.mark.parametrize("order", ["old to new", "new to old"])
def test_messages_that_one_release_left_are_run_by_the_other(site: Site, order: str) -> None:
    first, then = (site.old, site.new) if order == "old to new" else (site.new, site.old)
    site.new.manage("migrate")
    site.start(first, "web")
    site.start(first, "worker")
    first.manage("shell", "-c", POISON)
    site.wait_for_states({"dead": 1, "scheduled": 1})
    site.stop(first, "worker")
    with site.load(first) as load:
        load.wait_for(A_FEW)
    site.wait_for_states({"pending": 0})  # they are in RabbitMQ
    site.stop(first, "web")
    site.start(then, "worker")
    site.wait_for_states({"dead": 2})
    dead = site.query("SELECT id FROM outbox_outboxmessage WHERE state = 'dead'")
    then.manage("deadletters", "discard", *[str(row) for (row,) in dead], "--why", order)
    site.assert_nothing_is_lost_or_doubled()


def test_the_previous_release_deletes_a_user_of_the_new_one(site: Site) -> None:
    site.new.manage("migrate")
    site.start(site.new, "web")
    site.new.manage("shell", "-c", "User.objects.create_user('user2', password='a-password-of-user2')")
    with httpx.Client(base_url=site.new.url) as client:
        signed_in = client.post("api/token/", json={"username": "user2", "password": "a-password-of-user2"})
        client.headers["Authorization"] = f"Bearer {signed_in.json()['access']}"
        assert client.post("tasks/", json=TASK).status_code == 201
        site.old.manage(
            "shell", "-c", "from django.contrib.auth.models import User; User.objects.get(username='user2').delete()"
        )
        assert client.get("tasks/").status_code == 401
    site.start(site.old, "worker")
    site.assert_nothing_is_lost_or_doubled()
    site.old.manage("activity", "verify")
