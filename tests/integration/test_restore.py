"""A database that is restored into another cluster goes on where it was, however it is restored."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from pytest_django import DjangoDbBlocker

from actors.api import stream
from actors.api.stream import Client, Tail
from actors.models import Activity, Event
from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.process import wait_until
from tasks.listing import count_ledger
from tasks.models import Task
from tests.conftest import connected_to
from tests.unit.actors.api.test_stream import every, ids
from tests.unit.outbox.race_steps import in_another_thread

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("reachable")]

OURS = """
SELECT proname, array_to_string(proconfig, ';') FROM pg_proc
WHERE pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e')
"""
KINDS = ["full", "data only", "data only without triggers", "loaddata"]
# Each of them has the transaction number that its event has.
USE_UP_NUMBERS = """
DO $$ BEGIN FOR number IN 1..20000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$
"""
CREATE_TASKS = """
INSERT INTO tasks_task (title, description, completed, created_at, updated_at, owner_id)
SELECT 'Vazifa', '', n %% 3 = 0, now(), now(), %s FROM generate_series(1, %s) AS n
"""
# In fifty transactions, or one for each event.
LOG_ALL = """
DO $$ DECLARE first bigint; BEGIN
    FOR first IN SELECT id FROM tasks_task WHERE (id - 1) % {size} = 0 LOOP
        INSERT INTO actors_activity (event, task_id, title, owner, logged_at)
        SELECT 'task.created', id, title, 'user1', now() - interval '1 day' FROM tasks_task
        WHERE id >= first AND id < first + {size} ORDER BY id;
        COMMIT;
    END LOOP;
END $$
"""


class Source:
    """A database whose transactions have higher numbers than those of the cluster it is moved to."""

    def __init__(self, server: PrivatePostgresql, directory: Path, *, tasks: int, schema: str) -> None:
        self.server, self.schema, self.tasks = server, schema, tasks
        self.dump, self.fixture = directory / "dump", directory / "fixture.json"
        self.name = f"moved_{tasks}_{schema}"
        server.create_database(self.name)
        with connected_to(server, self.name, schema=schema):
            execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            call_command("migrate", verbosity=0)
            owner = User.objects.create_user("user1")
            execute(USE_UP_NUMBERS)
            execute(CREATE_TASKS, owner.pk, tasks)
            execute(LOG_ALL.format(size=max(1, tasks // 50)))
            self.events = list(Activity.objects.order_by("pk").values_list("pk", flat=True))
        self.run("pg_dump", "--format=custom", f"--file={self.dump}", f"--dbname={server.url(self.name)}")

    def run(self, program: str, *arguments: str) -> None:
        installation = self.server.installation
        command = [str(installation.bin / program), *arguments]
        done = subprocess.run(command, env=installation.environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    @contextmanager
    def restored(self, kind: str, target: PrivatePostgresql) -> Iterator[None]:
        """Restore a database of another cluster, to which Django is connected, as an operator would."""
        target.drop_database("restored")
        target.create_database("restored")
        if kind == "loaddata":
            with connected_to(self.server, self.name, schema=self.schema):
                excluded = ["contenttypes", "auth.permission"]
                call_command("dumpdata", output=str(self.fixture), exclude=excluded, verbosity=0)
        restore = ("pg_restore", f"--dbname={target.url('restored')}", "--single-transaction", "--exit-on-error")
        with connected_to(target, "restored", schema=self.schema):
            if kind == "full":
                self.run(*restore, str(self.dump))
            else:
                execute(f"CREATE SCHEMA IF NOT EXISTS {self.schema}")
                call_command("migrate", verbosity=0)
                # A process that is up meanwhile, with this connection.
                assert stream.end_of_log() == stream.BEGINNING
            if kind == "loaddata":
                call_command("loaddata", str(self.fixture), verbosity=0)
            elif kind != "full":
                execute("TRUNCATE django_migrations, django_content_type, auth_permission CASCADE")
                triggers = ["--disable-triggers"] if "without" in kind else []
                self.run(*restore, "--data-only", *triggers, str(self.dump))
            yield


@pytest.fixture(scope="module")
def reachable(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="module")
def target(postgresql: PrivatePostgresql, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivatePostgresql]:
    """A new cluster, whose transactions have low numbers."""
    directory = tmp_path_factory.mktemp("target")
    server = PrivatePostgresql(installation=postgresql.installation, directory=directory, durable=False)
    with server:
        yield server
    server.remove_data_kept_elsewhere()


@pytest.fixture(scope="module")
def source(postgresql: PrivatePostgresql, tmp_path_factory: pytest.TempPathFactory, reachable: None) -> Source:
    return Source(postgresql, tmp_path_factory.mktemp("source"), tasks=5, schema="public")


@pytest.fixture(scope="module")
def source_in_a_schema(
    postgresql: PrivatePostgresql, tmp_path_factory: pytest.TempPathFactory, reachable: None
) -> Source:
    return Source(postgresql, tmp_path_factory.mktemp("source"), tasks=5, schema="vazifa")


@pytest.fixture(scope="module")
def large_source(postgresql: PrivatePostgresql, tmp_path_factory: pytest.TempPathFactory, reachable: None) -> Source:
    return Source(postgresql, tmp_path_factory.mktemp("source"), tasks=50_000, schema="public")


@pytest.fixture
def tail() -> Iterator[Tail]:
    tail = Tail()
    yield tail
    tail.is_stopping = lambda: True
    assert wait_until(lambda: tail._thread is None, timeout_seconds=30)


def execute(statement: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)


def read(statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        rows: list[Any] = cursor.fetchall()
        return rows


def offsets() -> list[Any]:
    return read("TABLE actors_activity_offset")


def log() -> int:
    """Log the next event of the last task."""
    task = Task.objects.order_by("pk").last()
    assert task
    version = 1 + Activity.objects.filter(task_id=task.pk).count()
    return Activity.objects.create(event=Event.TASK_UPDATED, task_id=task.pk, version=version, title="Bir").pk


def verified() -> str:
    out = StringIO()
    call_command("activity", "verify", stdout=out, no_color=True)
    return out.getvalue()


def goes_on(source: Source, tail: Tail) -> None:
    """Assert that clients get what they have missed, then what is new, each once, and that nothing is amiss."""
    assert verified().startswith(f"{source.tasks} tasks, {source.tasks} versions logged, 0 on their way, 0 dead.")
    assert (count_ledger.count(Task.objects.all()), count_ledger.is_right()) == (source.tasks, True)
    assert len(offsets()) <= 1
    resumed = Client(tail, position=stream.position_of(source.events[-3]), wanted=every)
    follower = Client(tail, position=stream.end_of_log(), wanted=every)
    with closing(resumed), closing(follower):
        new = [log() for _ in range(3)]
        assert new[0] > source.events[-1]
        missed = source.events[-2:]
        assert ids(resumed, len(missed) + 3) == [*missed, *new]
        assert ids(follower, 3) == new
    assert stream.read_after(stream.position_of(new[-1])) == []
    Task.objects.create(title="Yangi", owner=User.objects.get())
    assert (count_ledger.count(Task.objects.all()), count_ledger.is_right()) == (source.tasks + 1, True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_database_goes_on_where_it_was(
    kind: str, source: Source, target: PrivatePostgresql, tail: Tail
) -> None:
    with source.restored(kind, target):
        goes_on(source, tail)


@pytest.mark.parametrize("kind", ["full", "data only"])
def test_a_schema_of_its_own_is_restored_as_well(
    kind: str, source_in_a_schema: Source, target: PrivatePostgresql, tail: Tail
) -> None:
    with source_in_a_schema.restored(kind, target):
        goes_on(source_in_a_schema, tail)


@pytest.mark.heavy
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS[:-1])  # loaddata takes minutes
def test_fifty_thousand_tasks_are_restored_as_well(
    kind: str, large_source: Source, target: PrivatePostgresql, tail: Tail
) -> None:
    with large_source.restored(kind, target):
        goes_on(large_source, tail)


def test_processes_that_begin_at_once_after_a_restore_agree(source: Source, target: PrivatePostgresql) -> None:
    with source.restored("full", target):
        highest = Activity.objects.order_by("transaction").last()
        assert highest
        begin = threading.Barrier(8)

        def write(task_id: int) -> None:
            with transaction.atomic():
                execute("SELECT pg_current_xact_id()")  # open before any of them has written
                begin.wait(60)
                for version in (1, 2):
                    with transaction.atomic():
                        Activity.objects.create(event=Event.TASK_UPDATED, task_id=task_id, version=version, title="Bir")

        threads = [in_another_thread(partial(write, task_id)) for task_id in range(101, 109)]
        for thread in threads:
            thread.join(60)
        new = Activity.objects.filter(task_id__gt=100)
        assert new.count() == 16
        assert min(row.transaction for row in new) > highest.transaction
        assert len(offsets()) == 1
        sent = [each.position.row_id for each in stream.read_after(stream.position_of(source.events[-1]))]
        assert sorted(sent) == sorted(row.pk for row in new)


def test_a_database_is_moved_again_and_back(
    source: Source, target: PrivatePostgresql, postgresql: PrivatePostgresql, tmp_path: Path
) -> None:
    with source.restored("full", target):
        log()
        expected = list(Activity.objects.order_by("pk").values_list("pk", flat=True))
    again = tmp_path / "again"
    source.run("pg_dump", "--format=custom", f"--file={again}", f"--dbname={target.url('restored')}")
    for number, server in enumerate((target, postgresql)):
        name = f"moved_again_{number}"
        server.create_database(name)
        source.run("pg_restore", f"--dbname={server.url(name)}", str(again))
        with connected_to(server, name):
            assert len(offsets()) == 1
            new = log()
            sent = [each.position.row_id for each in stream.read_after(stream.BEGINNING)]
            assert sent == [*expected, new]
        server.drop_database(name)


def test_every_function_of_ours_has_a_search_path(source: Source, target: PrivatePostgresql) -> None:
    with source.restored("full", target):
        functions = dict(read(OURS))
    assert {"actors_activity_is_append_only", "tasks_count_changed"} <= set(functions)
    assert set(functions.values()) == {"search_path=public, pg_temp"}


def test_a_log_that_an_earlier_release_wrote_in_two_clusters_is_put_in_order(
    source: Source, target: PrivatePostgresql
) -> None:
    with source.restored("full", target):
        call_command("migrate", "actors", "0004", verbosity=0)
        new = log()
        assert Activity.objects.order_by("transaction").first().pk == new  # type: ignore[union-attr]
        call_command("migrate", verbosity=0)
        new_ones = [new, log()]
        sent = [each.position.row_id for each in stream.read_after(stream.position_of(source.events[2]))]
        assert sent == [*source.events[3:], *new_ones]


def test_a_log_that_stays_where_it_is_needs_no_offset(source: Source, target: PrivatePostgresql) -> None:
    with source.restored("full", target):
        log()
        before = offsets()
        execute("VACUUM (FULL, FREEZE) actors_activity")
        for _ in range(2):
            with transaction.atomic(), transaction.atomic():
                log()
        stream.end_of_log()
        assert offsets() == before
