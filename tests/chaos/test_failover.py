"""PostgreSQL's machine is lost, and its standby promoted: what a synchronous standby has confirmed is not lost."""

import re
import time
from collections.abc import Iterator

import pytest

from project.local.servers.postgresql import Installation as PostgresqlInstallation
from project.local.servers.rabbitmq import Installation
from tests.chaos.follower import Follower
from tests.chaos.proxy import Proxy
from tests.chaos.replication import Replication
from tests.chaos.scenario import Scenario
from tests.chaos.service import ProxiedRabbitmq, Service

SKIPPED = re.compile(r"Message log_task_creation\((\d+), .* was skipped")


@pytest.fixture(scope="module")
def replication(
    postgresql_installation: PostgresqlInstallation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Replication]:
    directory = tmp_path_factory.mktemp("replication")
    with Replication(installation=postgresql_installation, directory=directory) as replication:
        yield replication


@pytest.fixture(scope="module")
def service(
    replication: Replication, rabbitmq_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A stack that knows the addresses of both PostgreSQL servers."""
    directory = tmp_path_factory.mktemp("replicated")
    rabbitmq = ProxiedRabbitmq(
        installation=rabbitmq_installation, directory=directory / "rabbitmq", plugins=(), proxy_port=0
    )
    with Proxy(target_port=rabbitmq.amqp_port) as rabbitmq_proxy:
        rabbitmq.proxy_port = rabbitmq_proxy.port
        service = Service(
            directory=directory,
            postgresql=replication.primary,
            postgresql_proxy=replication.proxies[replication.primary.port],
            rabbitmq=rabbitmq,
            rabbitmq_proxy=rabbitmq_proxy,
            database_url=replication.url,
        )
        with service.running():
            yield service


def fail_over(scenario: Scenario, replication: Replication) -> None:
    """Lose the primary, and promote its standby after a while."""
    replication.primary.kill()
    time.sleep(scenario.length.fault_seconds)
    scenario.service.postgresql = replication.promote_standby()


def test_the_primary_is_lost_and_its_synchronous_standby_promoted(scenario: Scenario, replication: Replication) -> None:
    with Follower(scenario.service.stack) as follower:
        with scenario.load() as load:
            for _ in range(2):  # there and back
                replication.add_standby()
                load.wait_for(scenario.length.creates)
                fail_over(scenario, replication)
                load.wait_for(scenario.a_few())
        assert load.unanswered
        scenario.assert_all_is_logged()
        follower.assert_has_seen(scenario.service.events())


def test_what_a_relay_commits_without_waiting_is_lost_with_the_primary_and_done_again(
    scenario: Scenario, replication: Replication
) -> None:
    replication.add_standby()
    with scenario.service.down("worker"):
        with scenario.service.down("rabbitmq"), scenario.load() as load:
            load.wait_for(scenario.length.creates)
        assert replication.link
        replication.link.black_hole()
        # No commit that waits for the standby ends any more; those of relays do.
        scenario.wait_until_published(len(load.created))
        fail_over(scenario, replication)
        assert scenario.service.published() < len(load.created)
        scenario.wait_until_queued(2 * len(load.created))
    scenario.assert_all_is_logged()


def test_an_asynchronous_standby_lacks_the_last_commits_and_verify_says_since_when(
    scenario: Scenario, replication: Replication
) -> None:
    replication.add_standby(is_synchronous=False)
    with scenario.load() as load:
        load.wait_for(scenario.length.creates)
    scenario.assert_all_is_logged()
    replication.wait_for_standby()
    assert replication.link
    with scenario.service.down("worker"):
        replication.link.black_hole()
        with scenario.load() as lost:
            lost.wait_for(scenario.length.creates)
        scenario.wait_until_published(len(lost.created))
        fail_over(scenario, replication)
        scenario.note(f"{len(lost.created)} answered creates are lost")
    # Their messages are dropped like those of settled rows.
    scenario.assert_queues_are_empty()
    logged = {task for (task,) in scenario.service.query("SELECT task_id FROM actors_activity")}
    assert load.created <= logged
    assert not lost.created & logged
    assert "PostgreSQL has taken over from another server" in scenario.service.stack.manage("activity", "verify")
    skipped = {int(task) for task in SKIPPED.findall(scenario.service.log.read_text("utf-8"))}
    assert lost.created <= skipped
