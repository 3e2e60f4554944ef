"""The servers, and the runs of Dramatiq's tests, which all go on at the same time: mostly they wait."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from project.local.servers.errors import ServerUnavailable
from project.local.servers.ports import LOOPBACK, free_port, listens
from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.process import Program, RunningProgram, wait_until
from project.local.servers.rabbitmq import Installation, PrivateRabbitmq
from project.local.servers.redis_installation import find_or_fetch as find_redis
from project.local.stack import MANAGE, ROOT
from settings.environment import VAR
from tests.compat.runs import SUITES, Run, environment_of
from tests.compat.sdist import SdistUnavailable, find_or_download, unpack_tests
from tests.conftest import skip_or_fail

REPORT = pytest.StashKey[list[str]]()
START_TIMEOUT_SECONDS = 15


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORT] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(REPORT, []):
        terminalreporter.section("Dramatiq's own tests")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> list[str]:
    """Lines that are printed at the end."""
    return request.config.stash[REPORT]


@pytest.fixture(scope="session")
def sdist() -> Path:
    """The source distribution of the installed Dramatiq."""
    try:
        return find_or_download(VAR / "cache")
    except SdistUnavailable as error:
        skip_or_fail(str(error))


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A private Redis."""
    try:
        server, environment = find_redis(VAR / "cache", print)
    except ServerUnavailable as error:
        skip_or_fail(str(error))
    directory, port = tmp_path_factory.mktemp("redis"), free_port()
    command = (server, "--bind", LOOPBACK, "--port", str(port), "--save", "", "--appendonly", "no")
    program = Program(name="redis", command=command, environment=environment, working_directory=directory)
    running = RunningProgram(program, log=directory / "log")
    try:
        assert wait_until(lambda: listens(LOOPBACK, port), timeout_seconds=START_TIMEOUT_SECONDS)
        yield f"redis://{LOOPBACK}:{port}"
    finally:
        running.stop()


@pytest.fixture(scope="session")
def node(rabbitmq_installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRabbitmq]:
    """A RabbitMQ of the runs alone: one of Dramatiq's tests stops it, by the first `rabbitmqctl` of its PATH."""
    directory = tmp_path_factory.mktemp("compat-rabbitmq")
    with PrivateRabbitmq(installation=rabbitmq_installation, directory=directory, plugins=()) as node:
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in node._environment().items())
        script = directory / "rabbitmqctl"
        script.write_text(f'#!/bin/sh\nexec env {variables} {node.installation.rabbitmqctl} "$@"\n')
        script.chmod(0o700)
        yield node


@pytest.fixture(scope="session")
def template(postgresql: PrivatePostgresql) -> str:
    """The name of a database with the service's tables."""
    postgresql.create_database("compat")
    environment = {**os.environ, "ENV_FILE": os.devnull, "DJANGO_SETTINGS_MODULE": "settings.development"}
    database = {"DATABASE_URL": postgresql.url("compat"), "LOG_FILE": ""}
    subprocess.run([*MANAGE, "migrate", "--verbosity=0"], env=environment | database, cwd=ROOT, check=True)
    return "compat"


@pytest.fixture(scope="session")
def runs(
    sdist: Path,
    postgresql: PrivatePostgresql,
    template: str,
    node: PrivateRabbitmq,
    redis_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Run]]:
    """All runs, by their suite's name; they have begun."""
    runs: dict[str, Run] = {}
    try:
        for number, (name, suite) in enumerate(SUITES.items()):
            database = f"compat_{number}"
            names = map(sql.Identifier, (database, template))
            postgresql.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
            directory = tmp_path_factory.mktemp(name.replace(" ", "_"))
            unpack_tests(sdist, directory / "tests")
            environment = environment_of(
                database_url=postgresql.url(database),
                rabbitmq_url=node.url,
                redis_url=f"{redis_url}/{number}?socket_timeout=60",
                path=node.directory,
            )
            runs[name] = Run(suite, directory=directory, environment=environment)
        yield runs
    finally:
        for run in runs.values():
            run.kill()
