"""A mass change does not keep one user's event waiting: real workers log it before most of the mass."""

from typing import LiteralString

import psycopg
import pytest

from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.process import wait_until
from project.local.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.timeout(600)]

ROWS = 10_000
# The mass is committed first: its messages are published before that of the one task.
CHANGE = f"""
from django.contrib.auth.models import User
from tasks.models import Task
user = User.objects.get(username="user1")
Task.objects.bulk_create(Task(title="Yuk", owner=user) for _ in range({ROWS}))
Task.objects.create(title="Bitta", owner=user)
"""
LOGGED: LiteralString = "SELECT count(*) FROM actors_activity WHERE title IN ('Yuk', 'Bitta')"
BEFORE_IT: LiteralString = """
SELECT count(*) FROM actors_activity WHERE title = 'Yuk' AND id < (SELECT id FROM actors_activity WHERE title = 'Bitta')
"""


def test_one_task_is_logged_before_most_of_a_mass_that_was_committed_before_it(
    stack: Stack, postgresql: PrivatePostgresql
) -> None:
    stack.manage("shell", "--no-imports", "-c", CHANGE)
    with psycopg.connect(postgresql.url("stack"), autocommit=True) as connection:

        def count(statement: LiteralString) -> int:
            [(number,)] = connection.execute(statement).fetchall()
            return int(number)

        assert wait_until(lambda: count(LOGGED) == ROWS + 1, timeout_seconds=400)
        assert count(BEFORE_IT) < ROWS / 2
