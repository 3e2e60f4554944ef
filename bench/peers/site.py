"""A peer as a site of the bench: its database, queue, environment and commands; and what makes its row cost as ours."""

import sys
from dataclasses import replace
from importlib.resources import files

import psycopg

from bench.queues import Queue
from bench.servers import Servers
from bench.sites import DRAMATIQ_SIZE, Site
from bench.sizes import CELERY_PROCESSES, SECRET_KEY

DATABASE = "peers"
LESSON = "celery-redis"
# A classic queue is refused beside a quorum queue of its name, and each has a virtual host to itself.
VHOSTS = ("celery", "plain")

PYTHON = (sys.executable, "-m")
DJANGO = (*PYTHON, "django")
# It looks for jobs once a second, as our relay does; its default is five.
PROCRASTINATE = (*PYTHON, "procrastinate", "--app", "bench.peers.procrastinate.app", "worker", "-p", "1")
CELERY_WORKER = (*PYTHON, "celery", "-A", "bench.peers.celery", "worker", "--concurrency", str(CELERY_PROCESSES))

COLUMNS = """
SELECT column_name, data_type, character_maximum_length, is_nullable FROM information_schema.columns
WHERE table_name = %s ORDER BY 1
"""
INDEXES = """
SELECT replace(indexdef, 'public.actors_activity', 'peers_activity') FROM pg_indexes
WHERE tablename = 'actors_activity' AND indexname NOT LIKE '%_pkey' ORDER BY 1
"""

ADD_JOBS = """
INSERT INTO procrastinate_jobs (queue_name, task_name) SELECT 'default', 'log' FROM generate_series(1, %s)
"""


def peer(servers: Servers, name: str) -> Site:
    """Return the variant of that name."""
    is_dramatiq = name.startswith("dramatiq")
    vhost = "plain" if is_dramatiq else "celery"
    broker_url = servers.redis_url if name == LESSON else f"{servers.rabbitmq.url}{vhost}"
    variables = {
        "DJANGO_SETTINGS_MODULE": "bench.peers.settings",
        "PEER": name,
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": servers.postgresql.url(DATABASE),
        "BROKER_URL": broker_url,
    }
    return Site(
        name=name,
        database=DATABASE,
        queue=Queue(url=broker_url, name="default" if is_dramatiq else "celery"),
        variables=variables,
        web=(*PYTHON, "gunicorn", "--config", "python:bench.peers.serving", "bench.peers.wsgi"),
        worker=(*DJANGO, "rundramatiq", *DRAMATIQ_SIZE) if is_dramatiq else CELERY_WORKER,
        manage=DJANGO,
    )


def procrastinate(servers: Servers) -> Site:
    """Return the queue in PostgreSQL, without any jobs, in the peers' database."""
    site = replace(peer(servers, "dramatiq"), name="procrastinate", worker=PROCRASTINATE)
    with psycopg.connect(servers.postgresql.url(site.database), autocommit=True) as database:
        database.execute((files("procrastinate") / "sql" / "schema.sql").read_text())
    return site


def work_off_jobs(database: psycopg.Connection, jobs: int) -> None:
    """Leave behind what so many of procrastinate's jobs do, by plain SQL: they are added, begun, and deleted.

    Its workers fetch one job at a time: under a held snapshot they would need an hour.
    """
    database.execute(ADD_JOBS, [jobs])
    database.execute("UPDATE procrastinate_jobs SET status = 'doing'")
    database.execute("DELETE FROM procrastinate_jobs")


def make_row_alike(ours: psycopg.Connection, theirs: psycopg.Connection) -> None:
    """Give the row that some peers write the indexes of our activity log.

    Raises:
        RuntimeError: it has other columns.
    """
    wanted = set(ours.execute(COLUMNS, ["actors_activity"]))
    found = set(theirs.execute(COLUMNS, ["peers_activity"]))
    if found != wanted:
        raise RuntimeError(f"bench.peers.models.Activity has not the columns of ours: {found ^ wanted}")
    for (index,) in ours.execute(INDEXES).fetchall():
        theirs.execute(index)
