"""Every change of a task sends its event once it is committed, wherever it was made."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import serializers
from django.db import transaction
from django.utils import timezone
from dramatiq import Message
from rest_framework.test import APIClient

from actors.outbox.models import OutboxMessage
from tasks.models import Task

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Sent = Callable[[], list[tuple[Any, ...]]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, logger="tasks.signals")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "tasks.signals"]


def make_task(owner: User, title: str = "Yangi vazifa") -> Task:
    return Task.objects.create(title=title, owner=owner)


def test_a_creation_is_sent_to_the_actor(user1: User, sent: Sent) -> None:
    task = make_task(user1)
    assert sent() == [(task.pk, "Yangi vazifa", "user1")]


def test_a_creation_over_rest_is_sent_to_the_actor(client1: APIClient, sent: Sent) -> None:
    task = client1.post("/tasks/", {"title": "Yangi vazifa"}).json()
    assert sent() == [(task["id"], "Yangi vazifa", "user1")]


def test_a_creation_that_is_rolled_back_sends_nothing(user1: User, sent: Sent) -> None:
    with transaction.atomic():
        make_task(user1)
        transaction.set_rollback(True)
    assert sent() == []


def test_each_change_is_sent_to_its_actor_with_its_number_and_what_it_changes(user1: User) -> None:
    task = make_task(user1)
    task_id = task.pk
    task.completed = True
    task.save()
    task.delete()
    messages = [Message.decode(bytes(row.body)) for row in OutboxMessage.objects.order_by("pk")]
    assert [(message.actor_name, message.args) for message in messages] == [
        (actor, (task_id, "Yangi vazifa", "user1"))
        for actor in ("log_task_creation", "log_task_update", "log_task_deletion")
    ]
    created, updated, deleted = [message.kwargs["details"] for message in messages]
    assert [details["version"] for details in (created, updated, deleted)] == [1, 2, 3]
    assert {details["owner_id"] for details in (created, updated, deleted)} == {user1.pk}
    assert created["changes"]["title"] == [None, "Yangi vazifa"]
    assert updated["changes"] == {"completed": [False, True]}
    assert deleted["changes"]["title"] == ["Yangi vazifa", None]


def test_a_save_that_changes_nothing_tells_of_nothing(user1: User, sent: Sent, lines: Callable[[], list[str]]) -> None:
    task = make_task(user1)
    before = Task.objects.values().get()
    task.save()
    task.save(update_fields=["title"])
    assert Task.objects.values().get() == before
    assert sent() == [(task.pk, "Yangi vazifa", "user1")]
    assert lines() == []


def test_an_update_is_logged_word_for_word(user1: User, lines: Callable[[], list[str]]) -> None:
    task = make_task(user1)
    task.completed = True
    task.save()
    assert lines() == [f"Vazifa yangilandi: Yangi vazifa (ID: {task.pk}, Owner: user1)"]


def test_a_deletion_is_logged_word_for_word(user1: User, lines: Callable[[], list[str]]) -> None:
    task = make_task(user1)
    task_id = task.pk
    task.delete()
    assert lines() == [f"Vazifa o'chirildi: Yangi vazifa (ID: {task_id}, Owner: user1)"]


def test_an_update_that_is_rolled_back_sends_nothing(user1: User, sent: Sent, lines: Callable[[], list[str]]) -> None:
    task = make_task(user1)
    with transaction.atomic():
        task.completed = True
        task.save()
        transaction.set_rollback(True)
    assert lines() == []
    assert sent() == [(task.pk, "Yangi vazifa", "user1")]


def test_deleting_many_logs_each(user1: User, lines: Callable[[], list[str]]) -> None:
    ids = [make_task(user1, f"Vazifa {number}").pk for number in range(3)]
    Task.objects.all().delete()
    expected = [f"Vazifa o'chirildi: Vazifa {n} (ID: {task_id}, Owner: user1)" for n, task_id in enumerate(ids)]
    assert sorted(lines()) == sorted(expected)


def test_deleting_a_user_logs_the_deletion_of_their_tasks(user1: User, lines: Callable[[], list[str]]) -> None:
    task = make_task(user1)
    user1.delete()
    assert lines() == [f"Vazifa o'chirildi: Yangi vazifa (ID: {task.pk}, Owner: user1)"]


def test_a_percent_sign_in_a_title_is_only_a_percent_sign(user1: User, lines: Callable[[], list[str]]) -> None:
    task = make_task(user1, "100 %s")
    task.completed = True
    task.save()
    assert lines() == [f"Vazifa yangilandi: 100 %s (ID: {task.pk}, Owner: user1)"]


def test_loading_a_fixture_tells_of_nothing(user1: User, sent: Sent, lines: Callable[[], list[str]]) -> None:
    then = timezone.now()
    old = Task(pk=7, title="Eski vazifa", owner=user1, created_at=then, updated_at=then)
    fixture = serializers.serialize("json", [old])
    for task in serializers.deserialize("json", fixture):
        task.save()
    assert Task.objects.get(pk=7).title == "Eski vazifa"
    assert sent() == []
    assert lines() == []


def test_what_is_not_saved_is_not_sent(user1: User, user2: User, sent: Sent, lines: Callable[[], list[str]]) -> None:
    task = make_task(user1)
    task.title, task.owner, task.completed = "Saqlanmagan", user2, True
    task.save(update_fields=["completed"])
    assert sent()[-1] == (task.pk, "Yangi vazifa", "user1")
    assert lines() == [f"Vazifa yangilandi: Yangi vazifa (ID: {task.pk}, Owner: user1)"]
