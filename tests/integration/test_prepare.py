"""`manage.py prepare` makes the published superuser in a database of this project alone, whatever its address says."""

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from project.local.servers.ports import LOOPBACK
from project.local.servers.postgresql import MARK_FILE, PrivatePostgresql
from project.local.stack import MANAGE, ROOT
from tests.chaos.proxy import Proxy

pytestmark = pytest.mark.integration

REFUSAL = "user1 is not created: Vazifa did not make this database."


def manage(*words: str, state: Path, **variables: str) -> str:
    settings = {"DJANGO_SETTINGS_MODULE": "settings.development", "STATE_DIR": str(state), "ENV_FILE": os.devnull}
    command = subprocess.run(
        [*MANAGE, *words],
        env={**os.environ, **settings, "LOG_FILE": "", **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert command.returncode == 0, command.stderr
    return command.stdout


def users_in(file: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(file)) as database:
        return database.execute("SELECT username, is_superuser FROM auth_user").fetchall()


def test_in_a_file_that_it_makes_the_user_is_made_and_made_again(tmp_path: Path) -> None:
    file = tmp_path / "db.sqlite3"
    assert manage("prepare", state=tmp_path) == ""
    assert users_in(file) == [("user1", 1)]
    with closing(sqlite3.connect(file)) as database:
        database.execute("DELETE FROM auth_user")
        database.commit()
    assert manage("prepare", state=tmp_path) == ""
    assert users_in(file) == [("user1", 1)]


def test_in_a_file_that_another_program_made_it_is_not(tmp_path: Path) -> None:
    manage("migrate", state=tmp_path)
    assert manage("prepare", state=tmp_path).startswith(REFUSAL)
    assert users_in(tmp_path / "db.sqlite3") == []


@pytest.fixture(scope="module")
def prepared(postgresql: PrivatePostgresql, tmp_path_factory: pytest.TempPathFactory) -> PrivatePostgresql:
    """A private server with a prepared database."""
    postgresql.create_database("prepared")
    manage("prepare", state=tmp_path_factory.mktemp("state"), DATABASE_URL=postgresql.url("prepared"))
    return postgresql


def users(server: PrivatePostgresql) -> list[str]:
    with psycopg.connect(server.url("prepared")) as connection:
        return [name for (name,) in connection.execute("SELECT username FROM auth_user").fetchall()]


@pytest.fixture
def empty(prepared: PrivatePostgresql) -> PrivatePostgresql:
    assert users(prepared) in ([], ["user1"])
    with psycopg.connect(prepared.url("prepared")) as connection:
        connection.execute("DELETE FROM auth_user")
    return prepared


@pytest.fixture
def mark(prepared: PrivatePostgresql) -> Iterator[Path]:
    """The file in which a server of this machine has its mark; the test may change it."""
    file = prepared.programs()[0].working_directory / MARK_FILE
    text = file.read_text()
    yield file
    file.write_text(text)


@pytest.fixture
def elsewhere(empty: PrivatePostgresql, mark: Path) -> PrivatePostgresql:
    """The same server as another machine sees it: what it says of itself is in no file there."""
    mark.unlink()
    return empty


def test_a_private_server_is_known_through_a_proxy_too(empty: PrivatePostgresql, tmp_path: Path) -> None:
    with Proxy(target_port=empty.port) as proxy:
        url = empty.url("prepared").replace(f":{empty.port}/", f":{proxy.port}/")
        assert manage("prepare", state=tmp_path, DATABASE_URL=url) == ""
    assert users(empty) == ["user1"]


@pytest.mark.parametrize(
    ("url", "variables"),
    [
        (f"postgresql://postgres@{LOOPBACK}:{{port}}/prepared", {}),
        (f"postgresql://postgres@/prepared?host={LOOPBACK}&port={{port}}", {}),
        ("postgresql://postgres@/prepared", {"PGHOST": LOOPBACK, "PGPORT": "{port}"}),
    ],
    ids=["a tunnel on loopback", "host in the query", "PGHOST"],
)
def test_a_server_of_another_machine_gets_no_user(
    elsewhere: PrivatePostgresql, tmp_path: Path, url: str, variables: dict[str, str]
) -> None:
    port = str(elsewhere.port)
    given = {name: value.format(port=port) for name, value in {"DATABASE_URL": url, **variables}.items()}
    assert manage("prepare", state=tmp_path, **given).startswith(REFUSAL)
    assert users(elsewhere) == []


def test_a_server_whose_mark_is_not_that_of_the_file_gets_no_user(
    empty: PrivatePostgresql, mark: Path, tmp_path: Path
) -> None:
    mark.write_text("0" * 32)
    assert manage("prepare", state=tmp_path, DATABASE_URL=empty.url("prepared")).startswith(REFUSAL)
    assert users(empty) == []


def test_a_role_that_may_not_see_where_the_data_are_gets_no_user(empty: PrivatePostgresql, tmp_path: Path) -> None:
    with psycopg.connect(empty.url("prepared"), autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS limited")
        connection.execute("CREATE ROLE limited LOGIN IN ROLE pg_read_all_data, pg_write_all_data")
    url = empty.url("prepared").replace("postgres@", "limited@")
    assert manage("prepare", state=tmp_path, DATABASE_URL=url).startswith(REFUSAL)
    assert users(empty) == []
