"""Behind PgBouncer: with sessions of its own the service is as without a pooler; every other mode is refused."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import dj_database_url
import psycopg
import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.base import DatabaseWrapper

from actors.outbox.checks import check_session
from project.local.demo import Walk
from project.local.servers.errors import ServerUnavailable
from project.local.servers.ports import free_port
from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.rabbitmq import PrivateRabbitmq
from project.local.stack import MANAGE, ROOT, Stack
from settings.base import POSTGRESQL_OPTIONS
from tests.conftest import skip_or_fail
from tests.integration.pgbouncer import PrivatePgbouncer, find_or_fetch

pytestmark = [pytest.mark.integration, pytest.mark.django_db]

DATABASE = "pooled"
# What the tests' PostgreSQL gives up for speed, and `check` reports.
NOT_DURABLE = {"fsync", "full_page_writes", "synchronous_commit"}

StartPooler = Callable[..., PrivatePgbouncer]


@pytest.fixture(scope="module")
def server(postgresql: PrivatePostgresql) -> PrivatePostgresql:
    """A PostgreSQL, whose database has settings that do not suit the service."""
    postgresql.create_database(DATABASE)
    with psycopg.connect(postgresql.url(), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {DATABASE} SET default_transaction_isolation TO serializable")
        connection.execute(f"ALTER DATABASE {DATABASE} SET plan_cache_mode TO force_generic_plan")
    return postgresql


@pytest.fixture
def start_pooler(server: PrivatePostgresql, tmp_path: Path) -> Iterator[StartPooler]:
    """Start a PgBouncer with some settings."""
    try:
        installation = find_or_fetch()
    except ServerUnavailable as error:
        skip_or_fail(str(error))
    with ExitStack() as running:

        def start(**settings: object) -> PrivatePgbouncer:
            pooler = PrivatePgbouncer(
                installation=installation, directory=tmp_path, postgresql=server, settings=settings
            )
            return running.enter_context(pooler)

        yield start


@contextmanager
def connected_to(url: str) -> Iterator[BaseDatabaseWrapper]:
    """Let `url` be the default database, as settings make it of DATABASE_URL."""
    place = dj_database_url.parse(url)
    place["OPTIONS"] = {**POSTGRESQL_OPTIONS, **place.get("OPTIONS", {})}
    present = connections["default"]
    connections["default"] = DatabaseWrapper(connections.configure_settings({"default": place})["default"])
    yield connections["default"]
    connections["default"].close()
    connections["default"] = present


def named(messages: str) -> set[str]:
    """Return what messages of the check name: settings, and ids of errors."""
    return set(re.findall(r"outbox\.E\d+|(?<=database's )\w+(?= is )|\w+(?= in OPTIONS\[)", messages))


def check(url: str) -> set[str]:
    """Return what the check names."""
    with connected_to(url):
        return named("\n".join(map(str, check_session(databases=["default"]))))


@pytest.mark.parametrize(
    ("mode", "status", "found"), [("session", 0, NOT_DURABLE), ("transaction", 1, {"outbox.E006"})]
)
def test_the_command_passes_by_session_only(start_pooler: StartPooler, mode: str, status: int, found: set[str]) -> None:
    pooler = start_pooler(pool_mode=mode)
    own = {
        "DATABASE_URL": pooler.url(DATABASE),
        "ENV_FILE": os.devnull,
        "DJANGO_SETTINGS_MODULE": "settings.development",
    }
    command = [*MANAGE, "check", "--database", "default"]
    checked = subprocess.run(
        command, env={**os.environ, "LOG_FILE": "", **own}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, named(checked.stderr)) == (status, found)


def test_by_session_every_setting_is_in_force(server: PrivatePostgresql, start_pooler: StartPooler) -> None:
    pooler = start_pooler(pool_mode="session")
    for _ in range(3):
        assert check(pooler.url(DATABASE)) == check(server.url(DATABASE)) == NOT_DURABLE


@pytest.mark.parametrize(
    "settings",
    [
        {"pool_mode": "transaction"},
        {"pool_mode": "transaction", "server_round_robin": 1},
        {"pool_mode": "transaction", "server_round_robin": 1, "min_pool_size": 2},
        {"pool_mode": "statement"},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_every_other_mode_is_refused(start_pooler: StartPooler, settings: dict[str, object]) -> None:
    pooler = start_pooler(**settings)
    for _ in range(3):  # without a server connection, and with those that are left
        assert check(pooler.url(DATABASE)) == {"outbox.E006"}


def test_a_client_prepares_statements_in_a_session_that_another_had_before(start_pooler: StartPooler) -> None:
    pooler = start_pooler(pool_mode="session", default_pool_size=1)
    seen = []
    for _client in range(2):
        with connected_to(pooler.url(DATABASE)) as connection, connection.cursor() as cursor:
            for _ in range(POSTGRESQL_OPTIONS["prepare_threshold"] + 2):
                cursor.execute("SELECT pg_backend_pid(), count(*) FROM pg_prepared_statements")
            seen.append(cursor.fetchone())
    assert seen == [(seen[0][0], 1)] * 2


def test_an_option_that_a_pooler_drops_is_reported(server: PrivatePostgresql, start_pooler: StartPooler) -> None:
    options = f"?options={quote('-c search_path=mine -c plan_cache_mode=auto')}"
    assert check(server.url(DATABASE) + options) == {*NOT_DURABLE, "plan_cache_mode"}
    pooler = start_pooler(pool_mode="session", ignore_startup_parameters="options")
    assert check(pooler.url(DATABASE) + options) == {*NOT_DURABLE, "plan_cache_mode", "search_path"}


def test_a_pool_without_room_is_an_error_in_words(start_pooler: StartPooler) -> None:
    pooler = start_pooler(pool_mode="session", default_pool_size=1, query_wait_timeout=1)
    assert check(pooler.url(DATABASE)) == {"outbox.E007"}


@pytest.mark.heavy
def test_the_lesson_is_walked_through_a_pooler(
    rabbitmq: PrivateRabbitmq, start_pooler: StartPooler, tmp_path: Path
) -> None:
    pooler = start_pooler(pool_mode="session", default_pool_size=100)
    log = tmp_path / "debug.log"
    variables = {
        "ENV_FILE": os.devnull,
        "DJANGO_SETTINGS_MODULE": "settings.development",
        "DATABASE_URL": pooler.url(DATABASE),
        "LOG_FILE": str(log),
    }
    with (
        Stack(directory=tmp_path / "stack", port=free_port(), rabbitmq_url=rabbitmq.url, variables=variables) as stack,
        Walk(stack, log=log) as walk,
    ):
        for _title, step in walk.steps():
            step()
        stack.manage("activity", "verify")
        stack.manage("relay", "--once")
    lines = log.read_text("utf-8").splitlines()
    reporting = [re.search(r" WARNING actors\.outbox\.db\.session\[(\d+)\] .* fsync is off", line) for line in lines]
    assert len({found[1] for found in reporting if found}) >= 4  # the web process, two workers, the relay
