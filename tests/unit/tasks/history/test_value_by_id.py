"""Updates of many rows to a value each, on both databases, with the events of any update."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoAssertNumQueries

from actors.outbox.models import OutboxMessage
from tasks.history.value_by_id import ValueById
from tasks.models import Task

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

TEXTS = ["%s", "100 %", "'; --", '"\\', "Oʻzbekcha 😀", "NULL", "5"]
TIMES = [datetime(2000 + year, 1, 31, 12, 30, 59, 123456, tzinfo=UTC) for year in range(3)]


@pytest.fixture
def tasks(user1: User) -> list[Task]:
    """Tasks of user1, the messages of whose creation are gone."""
    tasks = Task.objects.bulk_create([Task(title=f"Vazifa {number}", owner=user1) for number in range(len(TEXTS))])
    OutboxMessage.objects.all().delete()
    return tasks


@pytest.mark.parametrize(
    ("name", "new"),
    [("title", TEXTS), ("description", TEXTS), ("completed", [True, False, True]), ("created_at", TIMES)],
)
def test_each_row_gets_its_own_value(tasks: list[Task], name: str, new: list[Any]) -> None:
    chosen = tasks[: len(new)]
    values = {task.pk: value for task, value in zip(chosen, new, strict=True)}

    assert Task.objects.update(**{name: ValueById(Task, name, values)}) == len(tasks)

    expected = {task.pk: getattr(task, name) for task in tasks} | values
    assert dict(Task.objects.values_list("pk", name)) == expected


def test_an_owner_is_given_by_id(tasks: list[Task], user2: User) -> None:
    Task.objects.update(owner=ValueById(Task, "owner", {tasks[0].pk: user2.pk}))

    assert list(Task.objects.filter(owner=user2)) == tasks[:1]


def test_a_row_that_keeps_its_value_has_no_event(tasks: list[Task]) -> None:
    Task.objects.update(title=ValueById(Task, "title", {tasks[0].pk: tasks[0].title, tasks[1].pk: "Boshqa"}))

    assert [row.subject.rpartition(":")[2] for row in OutboxMessage.objects.all()] == [str(tasks[1].pk)]
    assert list(Task.objects.order_by("pk").values_list("version", flat=True)) == [1, 2, *[1] * (len(tasks) - 2)]


def test_a_thousand_parameters_of_a_statement_are_few(
    user1: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    tasks = Task.objects.bulk_create([Task(title="Yangi", owner=user1) for _ in range(500)])
    names = ("title", "description")

    with django_assert_max_num_queries(10):
        Task.objects.update(
            **{name: ValueById(Task, name, {task.pk: f"{task.pk}" for task in tasks}) for name in names}
        )

    assert all(row == (f"{row[2]}", f"{row[2]}", row[2]) for row in Task.objects.values_list(*names, "pk"))
