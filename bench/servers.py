"""The private servers of a run: a PostgreSQL that syncs, a RabbitMQ node and a Redis; and what a process costs.

Guarantee: every server that is started here is stopped here, by its process id.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from project.local.servers import debian, postgresql, rabbitmq
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
    server, environment = _find_redis(report)
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


def _find_redis(report: Callable[[str], None]) -> tuple[str, dict[str, str]]:
    """Return the command of an installed Redis, or of one unpacked from Debian's package, and its environment."""
    environment = {"LC_ALL": "C.UTF-8"}
    if installed := shutil.which("redis-server", path=f"{os.environ.get('PATH', '')}:/usr/bin"):
        return installed, environment
    path = CACHE.absolute() / f"redis-{debian.host_tag()}"
    tree = debian.PackageTree(title="Redis", packages=["redis-server"], path=path).fetch(report)
    libraries = debian.library_path(debian.library_directories(tree))
    return str(tree / "usr/bin/redis-server"), {**environment, **libraries}


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
