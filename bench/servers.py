"""The private servers of a run: a PostgreSQL that syncs, a RabbitMQ node and a Redis.

Guarantee: every server that is started here is stopped here, by its process id.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.redis import PrivateRedis
from bench.redis import find_or_fetch as find_redis
from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.postgresql import find_or_fetch as find_postgresql
from project.local.servers.rabbitmq import PrivateRabbitmq
from project.local.servers.rabbitmq import find_or_fetch as find_rabbitmq
from settings.environment import VAR


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Servers that run, shared by our service and its peers."""

    postgresql: PrivatePostgresql

    rabbitmq: PrivateRabbitmq

    redis: PrivateRedis


@contextmanager
def private_servers(directory: Path, report: Callable[[str], None]) -> Iterator[Servers]:
    """Run the servers, with their data in a directory."""
    cache = VAR / "cache"
    with (
        PrivatePostgresql(
            directory=directory / "postgresql", installation=find_postgresql(cache, report)
        ) as postgresql,
        PrivateRabbitmq(
            directory=directory / "rabbitmq", installation=find_rabbitmq(cache, report), plugins=()
        ) as rabbitmq,
        PrivateRedis(directory=directory / "redis", installation=find_redis(cache, report)) as redis,
    ):
        yield Servers(postgresql=postgresql, rabbitmq=rabbitmq, redis=redis)
