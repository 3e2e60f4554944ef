"""Two concurrent changes of one task: the transaction that waits acts on what the other one has committed."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from dramatiq import Message
from rest_framework.test import APIClient

from actors.outbox.models import OutboxMessage
from project.local.servers.process import wait_until
from tasks import audit
from tasks.models import Task
from tests.unit.outbox.race_steps import in_another_thread
from tests.unit.tasks.history.test_versioning import someone_waits_for_a_lock

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Meanwhile = Callable[[Callable[[], Any]], None]


@pytest.fixture
def task(database: str, user1: User) -> Task:
    if database == "sqlite":
        pytest.skip("an in-memory database has one connection")
    return Task.objects.create(title="Bir", owner=user1)


@pytest.fixture
def meanwhile(task: Task) -> Iterator[Meanwhile]:
    """Call `do` in a transaction that ends once the test waits for it."""
    threads: list[threading.Thread] = []

    def start(do: Callable[[], Any]) -> None:
        has_begun = threading.Event()

        def run() -> None:
            with transaction.atomic():
                do()
                has_begun.set()
                assert wait_until(someone_waits_for_a_lock, timeout_seconds=30)

        threads.append(in_another_thread(run))
        assert has_begun.wait(30)

    yield start
    for thread in threads:
        thread.join(30)


@pytest.fixture
def handed_over(task: Task, user2: User, meanwhile: Meanwhile) -> None:
    """Another transaction gives the task to user2 at this moment."""
    meanwhile(lambda: Task.objects.filter(pk=task.pk).update(owner=user2))


def sent_events() -> list[tuple[int | None, str, list[str]]]:
    """Return number, actor and changed fields of each event."""
    rows = OutboxMessage.objects.order_by("sequence")
    bodies = [(row.sequence, row.actor, Message.decode(bytes(row.body)).kwargs["details"]["changes"]) for row in rows]
    return [(number, actor.removeprefix("log_task_"), list(changes)) for number, actor, changes in bodies][1:]


@pytest.mark.usefixtures("handed_over")
def test_a_task_that_is_handed_over_is_deleted_and_its_event_is_sent(task: Task) -> None:
    Task.objects.get(pk=task.pk).delete()
    assert [(number, kind) for number, kind, _changes in sent_events()] == [(2, "update"), (3, "deletion")]
    assert not Task.objects.exists()


@pytest.mark.usefixtures("handed_over")
def test_the_tasks_of_a_user_who_is_deleted_send_their_events(task: Task, user1: User) -> None:
    user1.delete()
    assert [(number, kind) for number, kind, _changes in sent_events()] == [(2, "update"), (3, "deletion")]


@pytest.mark.usefixtures("handed_over")
def test_a_task_that_is_handed_over_is_changed_and_its_event_is_sent(task: Task) -> None:
    task.title = "Ikki"
    task.save(update_fields=["title"])
    assert sent_events() == [(2, "update", ["owner", "owner_id"]), (3, "update", ["title"])]


@pytest.mark.usefixtures("handed_over")
def test_whose_the_task_is_now_decides_who_may_change_it(task: Task, client1: APIClient) -> None:
    assert client1.patch(f"/tasks/{task.pk}/", {"title": "Ikki"}).status_code == 403


@pytest.mark.usefixtures("handed_over")
def test_nothing_is_wrong_with_a_task_that_is_handed_over(task: Task) -> None:
    assert not audit.examine(task.pk)


@pytest.mark.usefixtures("task")
def test_a_repair_that_waits_for_a_change_tells_of_no_deletion(task: Task, user2: User, meanwhile: Meanwhile) -> None:
    OutboxMessage.objects.update(state="dead")
    meanwhile(lambda: Task.objects.filter(pk=task.pk).update(owner=user2))
    sent, finding = audit.repair(task.pk)
    assert (sent, finding.missing, finding.dead) == ([], [], [1])


def test_a_missing_version_is_sent_again_by_one_of_two(task: Task, meanwhile: Meanwhile) -> None:
    pk = task.pk
    Task.objects.filter(pk=pk).update(title="Ikki")
    task.delete()
    OutboxMessage.objects.get(sequence=2).delete()
    meanwhile(lambda: audit.repair(pk))
    sent, finding = audit.repair(pk)
    assert (sent, bool(finding)) == ([], False)
    assert sent_events() == [(2, "update", ["title"]), (3, "deletion", sent_events()[1][2])]


def test_an_id_that_is_being_freed_goes_on_counting(task: Task, user1: User, meanwhile: Meanwhile) -> None:
    pk = task.pk
    meanwhile(task.delete)
    Task.objects.create(pk=pk, title="Yana", owner=user1)
    assert [(number, kind) for number, kind, _changes in sent_events()] == [(2, "deletion"), (3, "creation")]


def test_a_task_that_is_created_anew_meanwhile_is_deleted_and_its_event_is_sent(
    task: Task, user1: User, meanwhile: Meanwhile
) -> None:
    pk = task.pk

    def create_anew() -> None:
        Task.objects.get(pk=pk).delete()
        Task.objects.create(pk=pk, title="Yana", owner=user1)

    meanwhile(create_anew)
    task.delete()
    assert not Task.objects.exists()
    assert [(number, kind) for number, kind, _changes in sent_events()] == [
        (2, "deletion"),
        (3, "creation"),
        (4, "deletion"),
    ]
    assert not audit.examine(pk)
