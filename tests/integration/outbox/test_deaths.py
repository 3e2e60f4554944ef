"""In a real pool Dramatiq's `Results` and `Prometheus` learn of each death, and RabbitMQ gets no second dead letter."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import dramatiq
import pika
import psycopg
import pytest
from dramatiq.results import ResultFailure
from dramatiq.results.backends import RedisBackend

from project.local.servers.errors import ServerUnavailable
from project.local.servers.ports import LOOPBACK, free_port, listens
from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.process import Program, RunningProgram, wait_until
from project.local.servers.rabbitmq import PrivateRabbitmq
from project.local.servers.redis_installation import find_or_fetch
from settings.environment import VAR
from tests.conftest import skip_or_fail
from tests.integration.outbox.pool.process import Pool, wait_for

pytestmark = pytest.mark.integration

QUEUE = "mortal"
SEND = """
from tests.integration.outbox.pool import mortal
for name in {names}:
    getattr(mortal, name).send()
"""
SEND_OF_EARLIER_RELEASE = """
from tests.integration.outbox.pool import mortal
mortal.dramatiq.actor(queue_name=mortal.QUEUE, actor_name="forgotten")(lambda: None).send()
"""
# What each actor's message ends as; None if it is settled.
ENDS = {
    "succeed": None,
    "succeed_in_vain": "failed by a middleware",
    "fail": "retries exhausted",
    "fail_with_rows": "retries exhausted",
    "refuse": "throws",
    "come_too_late": "too old",
    "forgotten": "unknown actor",
}
# Messages, errors, retries and rejects.
COUNTED = {
    "succeed": (1, 0, 0, 0),
    "succeed_in_vain": (1, 0, 0, 1),
    "fail": (2, 2, 1, 1),
    "fail_with_rows": (2, 2, 1, 1),
    "refuse": (1, 1, 0, 1),
    "come_too_late": (1, 0, 0, 1),
}
COUNTERS = ("messages", "message_errors", "message_retries", "message_rejects")


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A Redis of this test alone."""
    try:
        server, environment = find_or_fetch(VAR / "cache", print)
    except ServerUnavailable as error:
        skip_or_fail(str(error))
    port = free_port()
    command = (server, "--bind", LOOPBACK, "--port", str(port), "--save", "")
    program = Program(name="redis", command=command, environment=environment, working_directory=tmp_path)
    running = RunningProgram(program, log=tmp_path / "redis.log")
    try:
        assert wait_until(lambda: listens(LOOPBACK, port), timeout_seconds=30)
        yield f"redis://{LOOPBACK}:{port}/0"
    finally:
        running.stop()


@pytest.fixture
def database(postgresql: PrivatePostgresql) -> Iterator[psycopg.Connection[Any]]:
    postgresql.create_database("deaths")
    with psycopg.connect(postgresql.url("deaths"), autocommit=True) as connection:
        yield connection
    postgresql.drop_database("deaths")


@pytest.fixture
def metrics_port() -> int:
    return free_port()


@pytest.fixture
def pool(
    postgresql: PrivatePostgresql,
    database: psycopg.Connection[Any],
    rabbitmq: PrivateRabbitmq,
    redis_url: str,
    metrics_port: int,
    tmp_path: Path,
) -> Iterator[Pool]:
    variables = {
        "DJANGO_SETTINGS_MODULE": "tests.integration.outbox.pool.mortal_settings",
        "RESULTS_URL": redis_url,
        "dramatiq_prom_host": LOOPBACK,
        "dramatiq_prom_port": str(metrics_port),
        "dramatiq_prom_db": str(tmp_path / "prometheus"),
    }
    pool = Pool(directory=tmp_path, database_url=postgresql.url("deaths"), rabbitmq_url=rabbitmq.url, **variables)
    pool.manage("migrate", "--verbosity", "0")
    yield pool
    pool.kill()


def counted(port: int, actor: str) -> tuple[int, ...]:
    """Return what Prometheus would read of an actor."""
    with urlopen(f"http://{LOOPBACK}:{port}/", timeout=30) as response:
        text = response.read().decode()
    labels = f'actor_name="{actor}",queue_name="{QUEUE}"'
    found = [re.search(rf"^dramatiq_{name}_total\{{{labels}\}} (\S+)$", text, re.MULTILINE) for name in COUNTERS]
    return tuple(int(float(each[1])) if each else 0 for each in found)


def test_each_death_is_a_failure_a_rejection_and_one_dead_letter(
    pool: Pool,
    database: psycopg.Connection[Any],
    rabbitmq: PrivateRabbitmq,
    redis_url: str,
    metrics_port: int,
) -> None:
    names = [name for name in ENDS if name != "forgotten"]
    pool.manage("shell", "--no-imports", "-c", SEND.format(names=names))
    pool.manage("shell", "--no-imports", "-c", SEND_OF_EARLIER_RELEASE)
    sent = dict(database.execute("SELECT actor, message_id FROM outbox_outboxmessage").fetchall())
    pool.start()

    def ended() -> dict[str, Any]:
        rows = "SELECT actor, reason FROM outbox_outboxmessage ORDER BY id"
        return {"succeed": None, **dict(database.execute(rows).fetchall())}

    wait_for(lambda: ended() == ENDS)
    assert database.execute("SELECT count(*) FROM outbox_outboxmessage").fetchone() == (len(ENDS) - 1,)

    def result_of(name: str) -> Any:
        message: dramatiq.Message[Any] = dramatiq.Message(
            queue_name=QUEUE, actor_name=name, args=(), kwargs={}, options={}, message_id=sent[name]
        )
        return message.get_result(backend=RedisBackend(url=redis_url), block=True, timeout=30_000)

    assert result_of("succeed") == 7
    for name in ("fail", "fail_with_rows", "refuse"):
        with pytest.raises(ResultFailure, match="ValueError: wrong"):
            result_of(name)
    with pytest.raises(ResultFailure, match="age limit"):
        result_of("come_too_late")

    wait_for(lambda: {name: counted(metrics_port, name) for name in COUNTED} == COUNTED)

    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        channel = connection.channel()

        def is_empty() -> bool:
            queues = (QUEUE, f"{QUEUE}.XQ")
            return not any(channel.queue_declare(queue, passive=True).method.message_count for queue in queues)

        wait_for(is_empty)
    pool.ask_to_stop()
    assert pool.wait() == 0
    # No dead letter but those that are rows came to RabbitMQ's queue of them.
    assert "dead letter dropped" not in pool.log.read_text("utf-8")
