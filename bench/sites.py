"""The services that are measured, ours and its peers: database, queue, environment and commands of each."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from bench.queues import Queue, RabbitmqQueue, RedisQueue, of_celery, of_dramatiq
from bench.servers import Servers
from bench.sizes import CELERY_PROCESSES, WEB_PROCESSES, WEB_THREADS, WORKER_PROCESSES, WORKER_THREADS
from project.local.demo_user import PASSWORD
from project.local.servers.ports import LOOPBACK
from project.local.stack import MANAGE

OURS = "ours"
LESSON = "celery-redis"
DATABASE = "bench"
PEERS_DATABASE = "peers"
QUEUE = "activity"
# A classic queue is refused beside a quorum queue of its name, and each has a virtual host to itself.
VHOSTS = ("celery", "plain")
SECRET_KEY = "for-the-bench-only-and-long-enough-to-sign-a-token-without-a-warning"  # noqa: S105

DRAMATIQ_SIZE = ("--processes", str(WORKER_PROCESSES), "--threads", str(WORKER_THREADS))
THEIR_GUNICORN = (sys.executable, "-m", "gunicorn", "--config", "python:bench.peers.serving", "bench.peers.wsgi")
CELERY_WORKER = (
    *(sys.executable, "-m", "celery", "-A", "bench.peers.celery", "worker"),
    *("--concurrency", str(CELERY_PROCESSES)),
)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A service that can be run."""

    name: str

    database: str

    queue: Queue

    variables: Mapping[str, str]

    web: tuple[str, ...]
    """The command of its web server; `BIND` in its environment says where it listens."""

    worker: tuple[str, ...]

    manage: tuple[str, ...]

    @property
    def tasks(self) -> sql.Identifier:
        """The table of tasks."""
        return sql.Identifier("tasks_task" if self.is_ours else "peers_task")

    @property
    def activity(self) -> sql.Identifier:
        return sql.Identifier("actors_activity" if self.is_ours else "peers_activity")

    @property
    def is_ours(self) -> bool:
        return self.name == OURS

    @property
    def writes_rows(self) -> bool:
        """Whether its workers write a row for each message, and not a line alone."""
        return self.is_ours or "-row" in self.name


def ours(servers: Servers, *, database: str = DATABASE) -> Site:
    """Return our service with the settings of production."""
    variables = {
        "ENV_FILE": os.devnull,
        "DJANGO_SETTINGS_MODULE": "settings.production",
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": servers.postgresql.url(database),
        "RABBITMQ_URL": servers.rabbitmq.url,
        "ALLOWED_HOSTS": LOOPBACK,
        "SECURE_SSL_REDIRECT": "False",
        "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
        "THROTTLE_ANON": "off",
        "THROTTLE_USER": "off",
        "WEB_CONCURRENCY": str(WEB_PROCESSES),
        "WEB_THREADS": str(WEB_THREADS),
        # Threads that only streams use: without them, as many as the peers'.
        "STREAM_CLIENTS": "0",
    }
    return Site(
        name=OURS,
        database=database,
        queue=RabbitmqQueue(url=servers.rabbitmq.url, name=QUEUE, task_id=of_dramatiq),
        variables=variables,
        web=(sys.executable, "-m", "gunicorn", "project.wsgi"),
        worker=(*MANAGE, "rundramatiq", *DRAMATIQ_SIZE),
        manage=MANAGE,
    )


def peer(servers: Servers, name: str) -> Site:
    """Return one of the peers (`bench.peers`)."""
    broker_url, queue = _their_queue(servers, name)
    django = (sys.executable, "-m", "django")
    variables = {
        "DJANGO_SETTINGS_MODULE": "bench.peers.settings",
        "PEER": name,
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": servers.postgresql.url(PEERS_DATABASE),
        "BROKER_URL": broker_url,
        "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
    }
    return Site(
        name=name,
        database=PEERS_DATABASE,
        queue=queue,
        variables=variables,
        web=THEIR_GUNICORN,
        worker=(*django, "rundramatiq", *DRAMATIQ_SIZE) if name.startswith("dramatiq") else CELERY_WORKER,
        manage=django,
    )


def _their_queue(servers: Servers, name: str) -> tuple[str, Queue]:
    if name == LESSON:
        return servers.redis.url, RedisQueue(url=servers.redis.url)
    if name.startswith("dramatiq"):
        url = f"{servers.rabbitmq.url}plain"
        return url, RabbitmqQueue(url=url, name="default", task_id=of_dramatiq)
    url = f"{servers.rabbitmq.url}celery"
    return url, RabbitmqQueue(url=url, name="celery", task_id=of_celery)
