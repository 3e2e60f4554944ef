"""Machines of a RabbitMQ cluster are lost: the queues' replicas on the others go on, and nothing is lost or doubled."""

from collections.abc import Iterator

import pytest

from project.local.servers.postgresql import Installation as PostgresqlInstallation
from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.rabbitmq import Installation
from tests.chaos.cluster import NODES, Cluster
from tests.chaos.follower import Follower
from tests.chaos.proxy import Proxy
from tests.chaos.scenario import QUEUES, Scenario
from tests.chaos.service import Service


@pytest.fixture(scope="module")
def cluster(rabbitmq_installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(installation=rabbitmq_installation, directory=tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def service(
    cluster: Cluster, postgresql_installation: PostgresqlInstallation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A stack that knows all addresses of the cluster."""
    directory = tmp_path_factory.mktemp("clustered")
    postgresql = PrivatePostgresql(installation=postgresql_installation, directory=directory / "postgresql")
    with postgresql, Proxy(target_port=postgresql.port) as postgresql_proxy:
        service = Service(
            directory=directory,
            postgresql=postgresql,
            postgresql_proxy=postgresql_proxy,
            rabbitmq=cluster.nodes[0],
            rabbitmq_proxy=cluster.nodes[0].proxy,
            rabbitmq_url=cluster.url,
        )
        with service.running():
            yield service


def test_the_leader_of_the_queues_is_lost_again_and_again_and_then_a_majority(
    scenario: Scenario, cluster: Cluster
) -> None:
    assert [cluster.members(queue) for queue in QUEUES] == [NODES] * len(QUEUES)
    with Follower(scenario.service.stack) as follower:
        with scenario.load() as load:
            for number in range(scenario.length.repeats):
                load.wait_for(scenario.a_few())
                leader = cluster.leader("activity")
                leader.lose(silently=number % 2 == 1)
                load.go_on(seconds=scenario.length.fault_seconds, count=scenario.a_few())
                leader.return_to_cluster()
            majority = scenario.chance.sample(cluster.nodes, NODES // 2 + 1)
            for node in majority:
                node.lose(silently=False)
            load.go_on(seconds=scenario.length.fault_seconds, count=scenario.length.creates)
            # Only a majority confirms.
            assert scenario.service.states().get("pending", 0) >= scenario.length.creates
            for node in majority:
                node.return_to_cluster()
            load.wait_for(scenario.a_few())
        assert load.refused == []
        scenario.assert_all_is_logged()
        follower.assert_has_seen(scenario.service.events())
