"""A worker pool over an installation of a test's own, on both databases; a module may have another `pool`."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.rabbitmq import PrivateRabbitmq
from tests.integration.outbox.pool.process import Pool, Read


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database of this test alone."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'db.sqlite3'}"
        return
    server: PrivatePostgresql = request.getfixturevalue("postgresql")
    name = f"pool_{uuid4().hex[:8]}"
    server.create_database(name)
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def pool_variables() -> dict[str, str]:
    """More environment for the pool."""
    return {}


@pytest.fixture
def pool(
    database_url: str, pool_variables: dict[str, str], rabbitmq: PrivateRabbitmq, tmp_path: Path
) -> Iterator[Pool]:
    """A pool with queues of its own, not started yet."""
    variables = {"QUEUE_PREFIX": f"pool-{uuid4().hex[:8]}-", **pool_variables}
    pool = Pool(directory=tmp_path, database_url=database_url, rabbitmq_url=rabbitmq.url, **variables)
    pool.manage("migrate", "--verbosity", "0")
    yield pool
    pool.kill()


@pytest.fixture
def read(pool: Pool, database_url: str) -> Iterator[Read]:
    """Query the pool's database."""
    path = database_url.removeprefix("sqlite:///")
    is_file = path != database_url
    connection: Any = sqlite3.connect(path) if is_file else psycopg.connect(database_url, autocommit=True)
    with closing(connection):
        yield lambda query: connection.execute(query).fetchall()
