"""Every change of a task is told once it is committed, wherever it was made."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import serializers
from django.db import transaction
from django.utils import timezone
from rest_framework.test import APIClient

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


def test_a_creation_that_is_rolled_back_is_told_to_nobody(user1: User, sent: Sent) -> None:
    with transaction.atomic():
        make_task(user1)
        transaction.set_rollback(True)
    assert sent() == []


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


def test_an_update_that_is_rolled_back_is_not_logged(user1: User, lines: Callable[[], list[str]]) -> None:
    task = make_task(user1)
    with transaction.atomic():
        task.save()
        transaction.set_rollback(True)
    assert lines() == []


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
