"""The servers of docker-compose.yml give the service what it needs and no more, tried without a container engine.

Its scripts and configuration run against private servers of the versions at hand, as the images run them.
"""

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import httpx
import psycopg
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from project.local.servers.errors import ServerUnavailable
from project.local.servers.ports import LOOPBACK, free_port, listens
from project.local.servers.postgresql import Installation as PostgresqlInstallation
from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.process import Program, RunningProgram, wait_until
from project.local.servers.rabbitmq import Installation, PrivateRabbitmq
from project.local.servers.redis_installation import find_or_fetch
from project.local.stack import MANAGE, ROOT
from settings.environment import VAR
from tests.conftest import skip_or_fail
from tests.unit.project.test_compose import SERVICES, VARIABLE, environment_of

pytestmark = pytest.mark.integration

PASSWORD = secrets.token_hex(16)
# The superuser needs no password, as over the container's socket; any other role does.
ACCESS = "host all postgres,upgrade 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
RIGHTS = (
    "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = 'vazifa'"
)
OWNERS = """
SELECT DISTINCT pg_get_userbyid(owner) FROM (
    SELECT relowner, relnamespace, oid FROM pg_class UNION ALL SELECT proowner, pronamespace, oid FROM pg_proc
) AS objects (owner, namespace, oid)
WHERE namespace = 'public'::regnamespace AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = oid AND deptype = 'e')
"""


@pytest.fixture
def server(postgresql_installation: PostgresqlInstallation, tmp_path: Path) -> Iterator[PrivatePostgresql]:
    with PrivatePostgresql(installation=postgresql_installation, directory=tmp_path / "pg") as server:
        yield server


def psql(server: PrivatePostgresql, script: str, *, user: str, database: str) -> None:
    command = [str(server.installation.bin / "psql"), f"--host={LOOPBACK}", f"--port={server.port}", "--no-psqlrc"]
    subprocess.run(
        [*command, f"--username={user}", f"--dbname={database}", "--set=ON_ERROR_STOP=1", "--quiet"],
        env={**server.installation.environment, "POSTGRES_PASSWORD": PASSWORD},
        input=(ROOT / "deploy" / "postgresql" / script).read_text(),
        text=True,
        check=True,
    )


def execute(server: PrivatePostgresql, user: str, statement: LiteralString) -> list[tuple[object, ...]]:
    url = f"postgresql://{user}@{LOOPBACK}:{server.port}/vazifa"
    with psycopg.connect(url, autocommit=True, password=PASSWORD) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def demand_passwords(server: PrivatePostgresql) -> None:
    data = server.programs()[0].working_directory / "data"
    (data / "pg_hba.conf").write_text(ACCESS)
    execute(server, "postgres", "SELECT pg_reload_conf()")


def manage(server: PrivatePostgresql, *words: str) -> str:
    own = environment_of("web") | {
        "DATABASE_URL": f"postgres://vazifa:{PASSWORD}@{LOOPBACK}:{server.port}/vazifa",
        "ENV_FILE": os.devnull,
    }
    command = subprocess.run(
        [*MANAGE, *words], env={**os.environ, **own}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert command.returncode == 0, command.stderr
    return command.stdout


def assert_the_service_works_without_rights(server: PrivatePostgresql) -> None:
    demand_passwords(server)
    manage(server, "migrate", "--verbosity", "0")
    assert "no issues" in manage(server, "check", "--database", "default")
    make = "from django.contrib.auth.models import User; from tasks.models import Task;"
    manage(server, "shell", "-c", f"{make} Task.objects.create(title='Bir', owner=User.objects.create_user('a'))")
    manage(server, "outbox", "status")
    manage(server, "activity", "verify")
    assert execute(server, "vazifa", RIGHTS) == [(False,) * 5]
    assert execute(server, "vazifa", OWNERS) == [("vazifa",)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(server, "vazifa", "COPY auth_user FROM PROGRAM 'true'")
    superuser = "SELECT rolname, rolpassword FROM pg_authid WHERE rolsuper AND rolcanlogin"
    assert execute(server, "postgres", superuser) == [("postgres", None)]


def test_a_new_postgresql_has_a_role_for_the_service_that_is_no_superuser(server: PrivatePostgresql) -> None:
    psql(server, "role.sql", user="postgres", database="postgres")
    assert_the_service_works_without_rights(server)


@pytest.mark.heavy
def test_a_postgresql_whose_superuser_was_the_service_is_upgraded(server: PrivatePostgresql) -> None:
    server.create_database("vazifa")
    execute(server, "postgres", "CREATE ROLE upgrade LOGIN SUPERUSER")
    execute(server, "upgrade", "ALTER ROLE postgres RENAME TO vazifa")
    manage(server, "migrate", "--verbosity", "0")
    assert execute(server, "vazifa", RIGHTS) == [(True,) * 5]

    psql(server, "upgrade.sql", user="upgrade", database="vazifa")
    execute(server, "postgres", "DROP ROLE upgrade")

    assert_the_service_works_without_rights(server)
    execute(server, "vazifa", "ALTER TABLE tasks_task ADD COLUMN later integer")


class ComposeNode(PrivateRabbitmq):
    """A node with the configuration and the variables of docker-compose.yml."""

    def prepare(self) -> None:
        super().prepare()
        own = [line for line in self.files.configuration.read_text().splitlines() if not line.startswith("d")]
        deployed = (ROOT / "deploy" / "rabbitmq" / "rabbitmq.conf").read_text()
        self.files.configuration.write_text("\n".join([*own, deployed]))

    def _environment(self) -> dict[str, str]:
        user = environment_of("rabbitmq")["RABBITMQ_DEFAULT_USER"]
        return {**super()._environment(), "RABBITMQ_DEFAULT_USER": user, "RABBITMQ_DEFAULT_PASS": self.password}


@pytest.mark.heavy
def test_the_user_of_a_new_rabbitmq_is_no_administrator(rabbitmq_installation: Installation, tmp_path: Path) -> None:
    with ComposeNode(installation=rabbitmq_installation, directory=tmp_path / "rabbitmq") as node:
        assert node.rabbitmqctl("list_users", "--no-table-headers").strip() == "vazifa\t[management]"
        account = (node.username, node.password)
        assert httpx.get(f"{node.management_url}api/queues", auth=account, timeout=30).status_code == 200
        assert httpx.get(f"{node.management_url}api/users", auth=account, timeout=30).status_code == 401


def test_valkey_answers_only_with_the_password(tmp_path: Path) -> None:
    try:
        server, environment = find_or_fetch(VAR / "cache", print)
    except ServerUnavailable as error:
        skip_or_fail(str(error))
    _, *words = [VARIABLE.sub(PASSWORD, word) for word in SERVICES["valkey"]["command"]]
    port = free_port()
    command = (server, *words, "--bind", LOOPBACK, "--port", str(port))
    program = Program(name="valkey", command=command, environment=environment, working_directory=tmp_path)
    running = RunningProgram(program, log=tmp_path / "log")
    client = [
        server.replace("redis-server", "redis-cli"),
        "-p",
        str(port),
        *SERVICES["valkey"]["healthcheck"]["test"][2:],
    ]
    try:
        assert wait_until(lambda: listens(LOOPBACK, port), timeout_seconds=30)
        for password, status in ((PASSWORD, 0), ("other", 1)):
            ping = subprocess.run(
                client, env={**environment, "REDISCLI_AUTH": password}, capture_output=True, check=False
            )
            assert ping.returncode == status, ping
        assert Redis.from_url(f"redis://default:{PASSWORD}@{LOOPBACK}:{port}/0").ping()
        with pytest.raises(AuthenticationError):
            Redis.from_url(f"redis://{LOOPBACK}:{port}/0").ping()
    finally:
        running.stop()
