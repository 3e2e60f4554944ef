"""Changes of very many tasks by one call: neither locks nor memory grow with them."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection

from actors.outbox.models import OutboxMessage
from tasks.models import Task
from tests.unit.outbox.race_steps import in_another_thread

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("database"),
    pytest.mark.heavy,
    pytest.mark.timeout(900),
]

ROWS = 50_000
MAX_LOCKS = 200
MAX_GROWTH = 50_000_000  # bytes; as many tasks in memory take twice that


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def watched() -> Iterator[Callable[[], tuple[int, int]]]:
    """Yield a function that returns the largest number of locks, and the largest growth in bytes, inside the block."""
    ended = threading.Event()
    locks, sizes, before = [0], [0], resident_bytes()

    def watch() -> None:
        while not ended.wait(0.1):
            sizes.append(resident_bytes() - before)
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_locks")
                locks.append(cursor.fetchone()[0])

    thread = in_another_thread(watch)
    try:
        yield lambda: (max(locks), max(sizes))
    finally:
        ended.set()
        thread.join()


def test_no_number_of_locks_and_no_memory_grows_with_the_rows_that_change(database: str, user1: User) -> None:
    if database == "sqlite":
        pytest.skip("it has one lock, and nothing to see it by")
    first = 1_000_000
    tasks = [Task(pk=first + number, title=f"Vazifa {number}", owner=user1) for number in range(ROWS)]
    with watched() as seen:
        Task.objects.bulk_create(tasks)
    assert seen()[0] < MAX_LOCKS
    del tasks
    for change in (lambda: Task.objects.update(completed=True), user1.delete):
        with watched() as seen:
            change()
        locks, growth = seen()
        assert locks < MAX_LOCKS
        assert growth < MAX_GROWTH
    assert not Task.objects.exists()
    assert OutboxMessage.objects.filter(queue="bulk").count() == 3 * ROWS
    out = StringIO()
    call_command("activity", "verify", stdout=out)
    assert f"{ROWS} tasks, 0 versions logged, {3 * ROWS} on their way, 0 dead." in out.getvalue()
