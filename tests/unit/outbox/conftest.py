"""Fixtures of the outbox's unit tests: a worker in the test's own thread, actors and dead letters for one test."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import dramatiq
import psycopg
import pytest

from actors.outbox.models import OutboxMessage
from tests.unit.outbox.inline_worker import QUEUE, InlineWorker


@pytest.fixture(autouse=True)
def all_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log every line: limits last for a minute, and so from one test to others."""
    monkeypatch.setattr("actors.outbox.log_limit.MAX_LINES", 10**9)


@pytest.fixture
def inline_worker() -> Iterator[InlineWorker]:
    inline_worker = InlineWorker()
    yield inline_worker
    inline_worker.start()


@pytest.fixture
def held_snapshot(database: str, request: pytest.FixtureRequest) -> Iterator[int]:
    """Hold a snapshot of PostgreSQL for as long as the test lasts, as a backup does; the value is its session's pid."""
    if database != "postgresql":
        pytest.skip("SQLite keeps no index entries of deleted rows")
    url = request.getfixturevalue("postgresql").url("vazifa_test")
    with closing(psycopg.connect(url, application_name="backup")) as backup:
        backup.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        backup.execute("SELECT 1 FROM outbox_outboxmessage")
        yield backup.info.backend_pid


@pytest.fixture
def actor() -> Iterator[Callable[..., dramatiq.Actor[Any, Any]]]:
    """Declare an actor for one test."""
    broker = dramatiq.get_broker()
    before = dict(broker.actors)

    def declare(work: Callable[..., Any], **options: Any) -> dramatiq.Actor[Any, Any]:
        name = options.pop("actor_name", f"test_{len(broker.actors)}")
        return dramatiq.actor(actor_name=name, queue_name=QUEUE, **options)(work)

    yield declare
    broker.actors.clear()
    broker.actors.update(before)


@pytest.fixture
def die(actor: Callable[..., dramatiq.Actor[Any, Any]]) -> Callable[..., OutboxMessage]:
    """Make a dead letter."""
    known = actor(lambda *args, **kwargs: None, actor_name="known")

    def make(**fields: Any) -> OutboxMessage:
        known.send("é")
        row = OutboxMessage.objects.latest("pk")
        this = OutboxMessage.objects.filter(pk=row.pk)
        this.mark_dead("throws", error="ValueError: x\nmore", traceback="Traceback …")
        this.update(**fields)
        row.refresh_from_db()
        return row

    return make
