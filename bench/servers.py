"""The private servers of a run: a PostgreSQL that syncs, a RabbitMQ node and a Redis; and what a process costs.

Guarantee: every server that is started here is stopped here, by its process id.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from project.local.servers import postgresql, rabbitmq, redis_installation
from project.local.servers.errors import ServerFailedToStart
from project.local.servers.ports import LOOPBACK, free_port, listens
from project.local.servers.process import Program, RunningProgram, wait_until
from settings.environment import VAR

CACHE = VAR / "cache"
REDIS_TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Servers that run, shared by our service and its peers."""

    postgresql: postgresql.PrivatePostgresql
    rabbitmq: rabbitmq.PrivateRabbitmq
    redis_url: str
    redis_pid: int


@contextmanager
def private_servers(directory: Path, report: Callable[[str], None]) -> Iterator[Servers]:
    """Run the servers, with their data in a directory."""
    database = postgresql.find_or_fetch(CACHE, report)
    node = rabbitmq.find_or_fetch(CACHE, report)
    with (
        postgresql.PrivatePostgresql(directory=directory / "postgresql", installation=database) as started_database,
        rabbitmq.PrivateRabbitmq(directory=directory / "rabbitmq", installation=node, plugins=()) as started_node,
        _private_redis(directory, report) as (redis_url, redis_pid),
    ):
        yield Servers(postgresql=started_database, rabbitmq=started_node, redis_url=redis_url, redis_pid=redis_pid)


@contextmanager
def _private_redis(directory: Path, report: Callable[[str], None]) -> Iterator[tuple[str, int]]:
    """Run a Redis that keeps all in memory, as a broker mostly is run; return its address and process id."""
    server, environment = redis_installation.find_or_fetch(CACHE, report)
    port = free_port()
    url = f"redis://{LOOPBACK}:{port}/0"
    settings = ("--bind", LOOPBACK, "--port", str(port), "--save", "", "--appendonly", "no")
    program = Program(name="redis", command=(server, *settings), environment=environment, working_directory=directory)
    log = directory / "redis.log"
    running = RunningProgram(program, log=log)
    try:
        if not wait_until(lambda: listens(LOOPBACK, port), timeout_seconds=REDIS_TIMEOUT_SECONDS):
            raise ServerFailedToStart(f"Redis does not answer: {log.read_text()}")
        yield url, running.pid
    finally:
        running.stop()


def cpu_seconds(pid: int) -> float:
    """Return how long a process, all its threads and children, those that have ended too, have kept a core busy."""
    total = 0.0
    for member in _family(pid):
        with suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_mb(pid: int) -> float:
    """Return the memory of a process and its children in MB; what they share counts once (PSS)."""
    return sum(member.memory_full_info().pss for member in _family(pid)) / 1e6


def _family(pid: int) -> list[psutil.Process]:
    leader = psutil.Process(pid)
    return [leader, *leader.children(recursive=True)]
