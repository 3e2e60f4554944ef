"""Steps of tests of races: effects, rows, another transaction's locks, a relay without RabbitMQ."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn
from uuid import uuid4

from django.contrib.auth.models import Group
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now

from actors.outbox import store
from actors.outbox.models import OutboxMessage, State

# The options with which an actor chooses how it is settled.
HOW_TO_SETTLE = [{}, {"outside_effects": True}, {"returns_rows": True}]


def add_effect(name: str = "effect") -> None:
    Group.objects.create(name=name)


def effects() -> list[str]:
    return sorted(Group.objects.values_list("name", flat=True))


def only_row() -> OutboxMessage:
    return OutboxMessage.objects.get()


def mark_claimed_published() -> None:
    """Claim all due rows and mark them published, as a relay does."""
    token = uuid4()
    rows = store.claim(token, 100).rows
    store.mark_published(token, [row.pk for row in rows])


def publish_again() -> None:
    """Make the rows pending, as repair does."""
    OutboxMessage.objects.filter(state=State.PUBLISHED).update(state=State.PENDING, due_at=Now(), published_at=None)


def let_hold_lapse() -> None:
    """Have all execution leases ended, and rescheduled messages due."""
    OutboxMessage.objects.exclude(held_until=None).update(held_until=Now() - timedelta(seconds=1))
    OutboxMessage.objects.update(due_at=Now())


def raise_database_away() -> NoReturn:
    """Fail as when the database connection is lost in use; on SQLite, as when the disk does not answer."""
    if connection.vendor == "sqlite":
        away = sqlite3.OperationalError("disk I/O error")
        away.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise OperationalError(*away.args) from away
    connection.close()
    raise OperationalError("server closed the connection unexpectedly")


def in_another_thread(do: Callable[[], Any]) -> threading.Thread:
    """Call `do` in another thread, with a database connection of its own."""

    def run() -> None:
        try:
            do()
        finally:
            connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@contextmanager
def locked_until(event: threading.Event, row: Any) -> Iterator[threading.Thread]:
    """Have another transaction lock a row until `event` is set, or the block has ended."""
    is_locked = threading.Event()

    def lock() -> None:
        with transaction.atomic():
            type(row)._default_manager.select_for_update().get(pk=row.pk)
            is_locked.set()
            event.wait(30)

    thread = in_another_thread(lock)
    assert is_locked.wait(30)
    yield thread
    event.set()
    thread.join()
