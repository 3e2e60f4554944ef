"""The fixtures of Dramatiq's modules of tests. Copied as their `conftest`."""

import logging
import os
from collections.abc import Iterator
from typing import Any

import dramatiq
import pika
import pytest
from django.db import connection
from dramatiq import Broker, Worker
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.rate_limits import backends as rate_limits
from dramatiq.results import backends as results
from pika.exceptions import ChannelClosedByBroker

from .brokers import STUB_IS_TESTED, URL, make_rabbitmq_broker, make_stub_broker

# Each has a database connection.
THREADS = 8
# Memcached's client is not installed. The outbox has no part in how a backend stores.
BACKENDS = ("redis", "stub")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if STUB_IS_TESTED:  # all others run over RabbitMQ
        items[:] = [each for each in items if isinstance(each, pytest.Function) and "stub_broker" in each.fixturenames]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Remove the rows and the messages of earlier tests."""
    yield
    connection.close()  # a statement that the test's time limit has interrupted may still run
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM outbox_outboxmessage; DELETE FROM outbox_watchedqueue")
    connection.close()


@pytest.fixture
def stub_broker() -> Iterator[Broker]:
    yield from _global(make_stub_broker())


@pytest.fixture
def rabbitmq_broker() -> Iterator[Broker]:
    yield from _global(make_rabbitmq_broker())


@pytest.fixture
def stub_worker(stub_broker: Broker) -> Iterator[Worker]:
    yield from _running(Worker(stub_broker, worker_timeout=100, worker_threads=THREADS))


@pytest.fixture
def rabbitmq_worker(rabbitmq_broker: Broker) -> Iterator[Worker]:
    yield from _running(Worker(rabbitmq_broker, worker_timeout=100, worker_threads=THREADS))


def _global(broker: Any) -> Iterator[Broker]:
    consume, consumers = broker.consume, []

    def remember(*arguments: Any, **options: Any) -> Any:
        consumers.append(consume(*arguments, **options))
        return consumers[-1]

    broker.consume = remember
    broker.emit_after("process_boot")
    dramatiq.set_broker(broker)
    yield broker
    for consumer in consumers:  # a test that consumes by itself closes nothing: it would take the next test's messages
        consumer.close()
    broker.close()
    if isinstance(broker, RabbitmqBroker):
        _empty(sorted(broker.get_declared_queues()))


def _running(worker: Worker) -> Iterator[Worker]:
    worker.start()
    yield worker
    worker.stop()


def _empty(names: list[str]) -> None:
    """Purge queues, and those of their dead letters; their consumers have been closed."""
    with pika.BlockingConnection(pika.URLParameters(URL)) as node:
        for name in [f"{name}{suffix}" for name in names for suffix in ("", ".XQ")]:
            try:
                node.channel().queue_purge(name)
            except ChannelClosedByBroker as error:  # no test has declared it
                assert error.reply_code == 404, error  # noqa: PT017


@pytest.fixture
def info_logging() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    yield
    root.setLevel(level)


@pytest.fixture
def redis_result_backend() -> results.RedisBackend:
    return _flushed(results.RedisBackend(url=os.environ["COMPAT_REDIS_URL"]))


@pytest.fixture
def redis_rate_limiter_backend() -> rate_limits.RedisBackend:
    return _flushed(rate_limits.RedisBackend(url=os.environ["COMPAT_REDIS_URL"]))


def _flushed(backend: Any) -> Any:
    backend.client.flushdb()
    return backend


@pytest.fixture
def stub_result_backend() -> results.StubBackend:
    return results.StubBackend()


@pytest.fixture
def stub_rate_limiter_backend() -> rate_limits.StubBackend:
    return rate_limits.StubBackend()


@pytest.fixture(params=BACKENDS)
def result_backend(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"{request.param}_result_backend")


@pytest.fixture(params=BACKENDS)
def rate_limiter_backend(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"{request.param}_rate_limiter_backend")
