"""Shared fixtures: accounts, clients, and real servers that are started once, when a test first needs them."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.core.management.commands import flush
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3.base import DatabaseWrapper as SqliteDatabaseWrapper
from dramatiq import Message
from dramatiq.middleware import CurrentMessage
from pytest_django import DjangoDbBlocker
from rest_framework.test import APIClient

from actors.outbox import outage
from actors.outbox.amqp.outage import rabbitmq_outage
from actors.outbox.amqp.topology import log_unchecked
from actors.outbox.log_limit import LineLimit
from actors.outbox.models import OutboxMessage
from project.local.servers.errors import ServerUnavailable
from project.local.servers.ports import free_port
from project.local.servers.postgresql import Installation as PostgresqlInstallation
from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.postgresql import find_or_fetch as find_postgresql
from project.local.servers.rabbitmq import Installation, PrivateRabbitmq
from project.local.servers.rabbitmq import find_or_fetch as find_rabbitmq
from project.local.servers.rabbitmq_installation import find_installation as find_installed_rabbitmq
from project.local.stack import ROOT, Stack
from settings.base import POSTGRESQL_OPTIONS
from settings.environment import VAR

PASSWORD = "a-password-for-tests"
# Rows that migrations have written, which no test changes.
KEPT_TABLES = {"django_migrations", "django_content_type", "auth_permission"}


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test on a developer's machine, fail it in CI: what is not tested there must not look tested."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must be able to run this: {reason}")
    pytest.skip(reason)


@pytest.fixture(autouse=True, scope="session")
def threads_close_connections() -> Iterator[None]:
    """Let `close()` end a thread's own connection to the in-memory database: an open one is a warning in Python 3.13.

    Django ignores `close()`, because the database ends with its last connection. Here that is the main thread's.
    """
    ignore = SqliteDatabaseWrapper.close

    def close(wrapper: SqliteDatabaseWrapper) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        (ignore if is_main else BaseDatabaseWrapper.close)(wrapper)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteDatabaseWrapper, "close", close)
        yield


@pytest.fixture(autouse=True)
def no_message_left() -> Iterator[None]:
    """Forget the message that a test has processed in this thread: Dramatiq does not, if it was skipped."""
    yield
    CurrentMessage._MESSAGE.set(None)


@pytest.fixture(autouse=True)
def no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the outages that another test has met; the end of one counts no rows, so it needs no database."""
    outage.reset_all()
    log_unchecked.cache_clear()
    monkeypatch.setattr(rabbitmq_outage, "describe_backlog", str)


@pytest.fixture(autouse=True)
def no_line_counted() -> None:
    """Let no test's log lines count for the limits of another's."""
    for logger in logging.root.manager.loggerDict.values():
        for limit in getattr(logger, "filters", ()):
            if isinstance(limit, LineLimit):
                limit.begin_anew()


@pytest.fixture(scope="session", autouse=True)
def quick_flush() -> Iterator[None]:
    """Empty the tables after a test that commits, in a tenth of the test's time instead of most of it.

    Django truncates them, 80 ms on PostgreSQL, and writes content types and permissions again, as long.
    """
    with patch.object(flush.Command, "handle", _delete_rows):
        yield


def _delete_rows(command: flush.Command, *, database: str, **options: Any) -> None:
    connection = connections[database]
    with transaction.atomic(using=database), connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor)) - KEPT_TABLES
        statements = [f"DELETE FROM {connection.ops.quote_name(table)}" for table in tables]  # noqa: S608 – our own
        if connection.vendor == "postgresql":
            # Without triggers: none refuses or counts, and the tables' order does not matter.
            statements.insert(0, "SET LOCAL session_replication_role = replica")
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture(scope="session")
def postgresql_installation() -> PostgresqlInstallation:
    """The PostgreSQL to run."""
    try:
        return find_postgresql(VAR / "cache", print)
    except ServerUnavailable as error:
        skip_or_fail(str(error))


@pytest.fixture(scope="session")
def postgresql(
    postgresql_installation: PostgresqlInstallation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrivatePostgresql]:
    """A private PostgreSQL server of the test run."""
    directory = tmp_path_factory.mktemp("postgresql")
    server = PrivatePostgresql(installation=postgresql_installation, directory=directory, durable=False)
    with server:
        yield server
    server.remove_data_kept_elsewhere()


@pytest.fixture(scope="session")
def rabbitmq_installation() -> Installation:
    """The RabbitMQ to run; RABBITMQ_TREE names unpacked packages of another version to test with."""
    try:
        if tree := os.environ.get("RABBITMQ_TREE"):
            found = find_installed_rabbitmq(Path(tree))
            assert found, f"{tree} has no RabbitMQ"
            # Its libraries are not this system's: its programs contain the paths of theirs.
            return replace(found, shared_libraries=())
        return find_rabbitmq(VAR / "cache", print)
    except ServerUnavailable as error:
        skip_or_fail(str(error))


@pytest.fixture(scope="session")
def rabbitmq(
    rabbitmq_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrivateRabbitmq]:
    """A private RabbitMQ node of the test run."""
    with PrivateRabbitmq(installation=rabbitmq_installation, directory=tmp_path_factory.mktemp("rabbitmq")) as node:
        yield node


@pytest.fixture(scope="session")
def stack_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stack's debug.log."""
    return tmp_path_factory.mktemp("log") / "debug.log"


@pytest.fixture(scope="session")
def stack(
    postgresql: PrivatePostgresql, rabbitmq: PrivateRabbitmq, stack_log: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A running stack on PostgreSQL, shared by the whole run."""
    postgresql.create_database("stack")
    stack = Stack(
        directory=tmp_path_factory.mktemp("stack"),
        port=free_port(),
        rabbitmq_url=rabbitmq.url,
        variables={
            "ENV_FILE": os.devnull,
            "DJANGO_SETTINGS_MODULE": "settings.development",
            "DATABASE_URL": postgresql.url("stack"),
            "LOG_FILE": str(stack_log),
            "THROTTLE_ANON": "10000/minute",
            "THROTTLE_USER": "10000/minute",
            "STREAM_CLIENTS": "64",
            "STREAM_CLIENTS_PER_USER": "100",
        },
    )
    with stack:
        yield stack


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def database(
    request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[str]:
    """Run the test on SQLite and again on PostgreSQL; the value is the database's name."""
    if request.param == "postgresql":
        server: PrivatePostgresql = request.getfixturevalue("postgresql")
        with django_db_blocker.unblock():
            yield from _on_postgresql(server)
    else:
        yield "sqlite"


def _on_postgresql(server: PrivatePostgresql) -> Iterator[str]:
    server.drop_database("vazifa_test")
    server.create_database("vazifa_test")
    with connected_to(server, "vazifa_test"):
        call_command("migrate", verbosity=0)
        # Statements are prepared at their first use: no test uses one as often as the service requires.
        connections["default"].settings_dict["OPTIONS"]["prepare_threshold"] = 0
        connections["default"].close()
        yield "postgresql"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests on PostgreSQL last: it stays Django's database until another is asked for, also for other tests."""
    items.sort(key=lambda item: "postgresql" in _params(item).values())
    for item in items:
        if item.path.relative_to(ROOT).parts[1] != "unit":
            item.add_marker(pytest.mark.xdist_group("servers"))  # they would disturb each other


def _params(item: pytest.Item) -> dict[str, object]:
    return item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}


@contextmanager
def connected_to(server: PrivatePostgresql, name: str, *, schema: str = "public") -> Iterator[None]:
    """Make a database of a PostgreSQL server Django's, in every thread."""
    address = {"ENGINE": "django.db.backends.postgresql", "NAME": name, "USER": "postgres"}
    place = {"HOST": "127.0.0.1", "PORT": str(server.port), "TEST": {"NAME": name}}
    options = {"OPTIONS": POSTGRESQL_OPTIONS | {"options": f"-c search_path={schema}"}}
    present, present_settings = connections["default"], connections.settings["default"]
    connections.settings["default"] = connections.configure_settings({"default": address | place | options})["default"]
    del connections["default"]
    ContentType.objects.clear_cache()  # it remembers the ids of the other database
    try:
        yield
    finally:
        connections["default"].close()
        connections.settings["default"] = present_settings
        connections["default"] = present
        ContentType.objects.clear_cache()


@pytest.fixture
def postgresql_default(database: str) -> Iterator[Callable[[str, str], None]]:
    """Change a setting of the tests' database and role on PostgreSQL, as operators do, and connect anew."""
    if database != "postgresql":
        pytest.skip("SQLite has no such defaults")
    changed = []

    def set_default(name: str, value: str) -> None:
        changed.append(name)
        _execute_anew(
            f"ALTER DATABASE vazifa_test SET {name} TO '{value}'; ALTER ROLE postgres SET {name} TO '{value}'"
        )

    yield set_default
    for name in changed:
        _execute_anew(f"ALTER DATABASE vazifa_test RESET {name}; ALTER ROLE postgres RESET {name}")


def _execute_anew(statements: str) -> None:
    with connections["default"].cursor() as cursor:
        for statement in statements.split(";"):
            cursor.execute(statement)
    connections["default"].close()


@pytest.fixture
def user1(db: None) -> User:
    return User.objects.create_user("user1", password=PASSWORD)


@pytest.fixture
def user2(db: None) -> User:
    return User.objects.create_user("user2", password=PASSWORD)


@pytest.fixture
def client_of() -> Callable[[User], APIClient]:
    """Make a REST client that is signed in as a user."""

    def make(user: User) -> APIClient:
        client = APIClient()
        client.force_authenticate(user)
        return client

    return make


@pytest.fixture
def client1(user1: User, client_of: Callable[[User], APIClient]) -> APIClient:
    return client_of(user1)


@pytest.fixture
def client2(user2: User, client_of: Callable[[User], APIClient]) -> APIClient:
    return client_of(user2)


@pytest.fixture
def sent(db: None) -> Callable[[], list[tuple[Any, ...]]]:
    """The arguments of the messages sent to the actors, in order; there is no RabbitMQ to publish them to."""

    def messages() -> list[tuple[Any, ...]]:
        bodies = OutboxMessage.objects.order_by("pk").values_list("body", flat=True)
        return [Message.decode(bytes(body)).args for body in bodies]

    return messages


@pytest.fixture
def closed_port() -> int:
    """A port of 127.0.0.1 on which nothing listens."""
    return free_port()
