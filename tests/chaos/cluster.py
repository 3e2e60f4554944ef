"""A cluster of RabbitMQ nodes, each behind a proxy of its own: a black hole when its machine is lost without a word."""

import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from project.local.servers.ports import free_port
from project.local.servers.process import Program, RunningProgram, wait_until
from project.local.servers.rabbitmq import Installation
from tests.chaos.proxy import Proxy
from tests.chaos.service import HEARTBEAT_SECONDS, ProxiedRabbitmq

NODES = 3
PEERS = "cluster_formation.classic_config.nodes"
READY_TIMEOUT_SECONDS = 60.0


@dataclass(kw_only=True)
class ClusterNode(ProxiedRabbitmq):
    """A node of a cluster, whose nodes share one epmd, as those of one machine do."""

    proxy: Proxy

    def programs(self) -> list[Program]:
        return super().programs()[1:]

    def ports(self) -> tuple[int, ...]:
        return (self.amqp_port, self.dist_port)

    def lose(self, *, silently: bool) -> None:
        """Kill the node; `silently`, its connections stay open without an answer, as those of a lost machine do."""
        if silently:
            self.proxy.black_hole()
        self.kill()

    def return_to_cluster(self) -> None:
        """Start a lost node again, with its data."""
        self.start()
        self.proxy.forward()


class Cluster:
    """RabbitMQ nodes that form one cluster."""

    def __init__(self, *, installation: Installation, directory: Path) -> None:
        self.nodes: list[ClusterNode] = []
        self._running = ExitStack()
        epmd_port = free_port()
        for number in range(NODES):
            amqp_port = free_port()
            proxy = Proxy(target_port=amqp_port)
            node = ClusterNode(
                installation=installation,
                directory=directory / str(number),
                plugins=(),
                extra_configuration=(f"heartbeat = {HEARTBEAT_SECONDS}",),
                amqp_port=amqp_port,
                epmd_port=epmd_port,
                proxy_port=proxy.port,
                proxy=proxy,
            )
            node.prepare()
            self.nodes.append(node)
        first, *others = self.nodes
        for node in others:
            # A cluster has one cookie, and one user.
            shutil.copy2(first.files.cookie, node.files.cookie)
            shutil.copy2(first.files.password_file, node.files.password_file)
            # At its first start it joins the first. One that does not run yet would be waited for.
            names = [each.files.node_name for each in (first, node)]
            node.extra_configuration += tuple(f"{PEERS}.{number} = {name}" for number, name in enumerate(names))

    @property
    def url(self) -> str:
        """All addresses, as `RABBITMQ_URL` takes them."""
        return ";".join(node.url for node in self.nodes)

    def __enter__(self) -> Self:
        with ExitStack() as running:
            [epmd, _] = ProxiedRabbitmq.programs(self.nodes[0])
            assert epmd.log
            running.callback(RunningProgram(epmd, log=epmd.log).kill)
            assert wait_until(epmd.is_ready, timeout_seconds=READY_TIMEOUT_SECONDS)
            for node in self.nodes:
                running.enter_context(node.proxy)
                running.enter_context(node)
            self._running = running.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()

    def members(self, queue: str) -> int:
        """Return on how many nodes a queue has a replica."""
        return len(self._column(queue, "members").split(","))

    def leader(self, queue: str) -> ClusterNode:
        """Return the node with the leader of a queue."""
        name = self._column(queue, "leader")
        return next(node for node in self.nodes if node.files.node_name == name)

    def _column(self, queue: str, column: str) -> str:
        """Return a column of a queue, as a node that runs lists it."""
        node = next(node for node in self.nodes if node.is_running())
        listed = node.rabbitmqctl("list_queues", "--no-table-headers", "name", column)
        return dict(line.split("\t") for line in listed.splitlines())[queue]
