"""A service that is measured, its database, queue, environment and commands; and ours as one."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from bench.queues import Queue
from bench.servers import Servers
from bench.sizes import SECRET_KEY, WEB_PROCESSES, WEB_THREADS, WORKER_PROCESSES, WORKER_THREADS
from project.local.servers.ports import LOOPBACK
from project.local.stack import MANAGE

OURS = "ours"
DATABASE = "bench"
QUEUE = "activity"
DRAMATIQ_SIZE = ("--processes", str(WORKER_PROCESSES), "--threads", str(WORKER_THREADS))


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
        "TOKEN_SIGNING_KEY": SECRET_KEY,
        "DATABASE_URL": servers.postgresql.url(database),
        "RABBITMQ_URL": servers.rabbitmq.url,
        "ALLOWED_HOSTS": LOOPBACK,
        "SECURE_SSL_REDIRECT": "False",
        "THROTTLE_ANON": "off",
        "THROTTLE_USER": "off",
        "WEB_CONCURRENCY": str(WEB_PROCESSES),
        "WEB_THREADS": str(WEB_THREADS),
        # Threads that only streams and exports use: without them, as many as the peers'.
        "STREAM_CLIENTS": "0",
        "EXPORT_CLIENTS": "0",
    }
    return Site(
        name=OURS,
        database=database,
        queue=Queue(url=servers.rabbitmq.url, name=QUEUE),
        variables=variables,
        web=(sys.executable, "-m", "gunicorn", "project.wsgi"),
        worker=(*MANAGE, "rundramatiq", *DRAMATIQ_SIZE),
        manage=MANAGE,
    )
