"""A service that is broken on purpose, shared by all scenarios, and the table of their results.

The scenarios run after all other tests, which would otherwise lack the processor time that the scenarios take.
"""

import os
import random
from collections.abc import Generator, Iterator

import pytest

from project.local.servers.postgresql import Installation as PostgresqlInstallation
from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.rabbitmq_installation import Installation
from tests.chaos.passes import Pass, chosen_pass
from tests.chaos.proxy import Proxy
from tests.chaos.report import Report
from tests.chaos.scenario import Scenario
from tests.chaos.service import HEARTBEAT_SECONDS, ProxiedRabbitmq, Service

REPORT = pytest.StashKey[Report]()
# Run by every `make test`: one scenario for each main promise. The others are heavy.
IN_EVERY_RUN = frozenset(
    {
        "test_everything_is_killed_at_once_and_what_is_owed_is_delivered_without_a_new_request",
        "test_kill_9_of_rabbitmq",
        "test_a_queue_is_purged_with_messages_in_it",
        "test_kill_9_of_workers",
        "test_postgresql_crashes_and_comes_back",
        "test_answers_to_commits_are_lost",
    }
)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORT] = Report()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    # Marked before `-m` chooses, moved after the others are shuffled.
    timeout = chosen_pass().scenario_timeout_seconds
    for item in filter(is_scenario, items):
        item.add_marker(pytest.mark.integration)
        item.add_marker(pytest.mark.timeout(timeout))
        if item.name not in IN_EVERY_RUN:
            item.add_marker(pytest.mark.heavy)
    yield
    items.sort(key=is_scenario)


def is_scenario(item: pytest.Item) -> bool:
    return item.nodeid.startswith("tests/chaos/")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash.get(REPORT, Report())
    if not report.lines:
        return
    terminalreporter.section("chaos")
    for line in (*report.table(), *report.notes):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def length() -> Pass:
    return chosen_pass()


@pytest.fixture(scope="session")
def service(
    rabbitmq_installation: Installation,
    postgresql_installation: PostgresqlInstallation,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    """The stack and its servers, which all scenarios share."""
    directory = tmp_path_factory.mktemp("chaos")
    rabbitmq = ProxiedRabbitmq(
        installation=rabbitmq_installation,
        directory=directory / "rabbitmq",
        plugins=(),
        extra_configuration=(f"heartbeat = {HEARTBEAT_SECONDS}",),
        proxy_port=0,
    )
    # Durable: it is killed, and must not lose its commits.
    postgresql = PrivatePostgresql(installation=postgresql_installation, directory=directory / "postgresql")
    with (
        postgresql,
        Proxy(target_port=postgresql.port) as postgresql_proxy,
        Proxy(target_port=rabbitmq.amqp_port) as rabbitmq_proxy,
    ):
        rabbitmq.proxy_port = rabbitmq_proxy.port
        service = Service(
            directory=directory,
            postgresql=postgresql,
            postgresql_proxy=postgresql_proxy,
            rabbitmq=rabbitmq,
            rabbitmq_proxy=rabbitmq_proxy,
        )
        with service.running():
            yield service


@pytest.fixture
def scenario(request: pytest.FixtureRequest, service: Service, length: Pass) -> Iterator[Scenario]:
    """The test's scenario; the service is whole when it begins, and is healed when it ends."""
    name = request.node.name.removeprefix("test_").replace("_", " ")
    seed = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(2**32)))
    print(f"CHAOS_SEED={seed}")
    yield Scenario(name=name, seed=seed, service=service, length=length, report=request.config.stash[REPORT])
    service.heal()
    service.forget()
