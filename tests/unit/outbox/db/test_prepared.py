"""PostgreSQL prepares the statements of every create once; in all else they are like any other."""

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from actors.activity import log_task_creation
from actors.outbox.db.postgres import prepared_cursor
from actors.outbox.models import OutboxMessage

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

INSERT = "INSERT INTO auth_group (name) VALUES (%s)"


def kept() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        return [statement for (statement,) in cursor.fetchall()]


def insert(name: Any) -> None:
    with prepared_cursor() as cursor:
        cursor.execute(INSERT, [name])


def test_a_statement_is_kept_once_whatever_its_parameters(database: str) -> None:
    for name in ("a", "b'", "ў\n"):
        insert(name)
    assert sorted(Group.objects.values_list("name", flat=True)) == ["a", "b'", "ў\n"]
    if database == "postgresql":
        assert kept() == ["INSERT INTO auth_group (name) VALUES ($1)"]


def test_what_is_sent_is_inserted_by_a_statement_that_is_kept(database: str) -> None:
    for number in range(3):
        log_task_creation.send(number, "title", "owner")
    assert OutboxMessage.objects.count() == 3
    if database == "postgresql":
        assert [statement.split()[2] for statement in kept()] == ["outbox_outboxmessage"]


def test_it_is_rolled_back_with_the_transaction() -> None:
    with transaction.atomic():
        insert("a")
        transaction.set_rollback(True)
    assert not Group.objects.exists()


def test_errors_are_djangos() -> None:
    insert("a")
    with pytest.raises(IntegrityError), transaction.atomic():
        insert("a")
    insert("b")
    assert Group.objects.count() == 2


def test_it_is_logged_like_any_other() -> None:
    with CaptureQueriesContext(connection) as queries:
        insert("a")
    assert ["INSERT INTO auth_group" in query["sql"] for query in queries] == [True]


def test_it_connects_when_there_is_no_connection(database: str) -> None:
    if database == "sqlite":
        pytest.skip("a SQLite database in memory ends with its connection")
    connection.close()
    insert("a")
    assert Group.objects.get().name == "a"


@pytest.mark.usefixtures("database_away")
def test_a_database_that_is_away_is_djangos_error_too() -> None:
    with pytest.raises(OperationalError):
        insert("a")
