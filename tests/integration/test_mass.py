"""A mass change does not keep one user's event waiting, and workers delete a user with many tasks."""

from collections.abc import Callable, Iterator
from typing import LiteralString

import psycopg
import pytest

from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.process import wait_until
from project.local.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.timeout(600)]

ROWS = 10_000
# More than two steps.
TASKS_TO_DELETE = 1_200
CREATE = """
from django.contrib.auth.models import User
from tasks.models import Task
user = User.objects.create_user("{name}")
Task.objects.bulk_create(Task(title="Yuk", owner=user) for _ in range({count}))
"""
LOGGED: LiteralString = "SELECT count(*) FROM actors_activity WHERE owner = 'hammol' AND event = 'task.created'"
BEFORE_IT: LiteralString = """
SELECT count(*) FROM actors_activity WHERE title = 'Yuk' AND id < (SELECT id FROM actors_activity WHERE title = 'Bitta')
"""
USERS: LiteralString = "SELECT count(*) FROM auth_user WHERE username = 'ketuvchi'"
DELETED: LiteralString = "SELECT count(*) FROM actors_activity WHERE owner = 'ketuvchi' AND event = 'task.deleted'"

Count = Callable[[LiteralString], int]


@pytest.fixture
def count(stack: Stack, postgresql: PrivatePostgresql) -> Iterator[Count]:
    """Return what a statement counts."""
    with psycopg.connect(postgresql.url("stack"), autocommit=True) as connection:

        def ask(statement: LiteralString) -> int:
            [(number,)] = connection.execute(statement).fetchall()
            return int(number)

        yield ask


def test_one_task_is_logged_before_most_of_a_mass_that_was_committed_before_it(stack: Stack, count: Count) -> None:
    # The mass is committed first: its messages are published before that of the one task.
    one = "Task.objects.create(title='Bitta', owner=user)"
    stack.manage("shell", "--no-imports", "-c", CREATE.format(name="hammol", count=ROWS) + one)
    try:
        assert wait_until(lambda: count(LOGGED) == ROWS + 1, timeout_seconds=400)
        assert count(BEFORE_IT) < ROWS / 2
    finally:
        stack.manage("delete_user", "hammol")


def test_workers_delete_a_user_step_by_step_and_log_every_task(stack: Stack, count: Count) -> None:
    start = "from tasks.activity import start_deletion; start_deletion(user)"
    stack.manage("shell", "--no-imports", "-c", CREATE.format(name="ketuvchi", count=TASKS_TO_DELETE) + start)
    assert wait_until(lambda: count(USERS) == 0, timeout_seconds=200)
    assert wait_until(lambda: count(DELETED) == TASKS_TO_DELETE, timeout_seconds=200)
