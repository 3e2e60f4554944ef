"""Two concurrent changes of one task: the transaction that waits acts on what the other one has committed."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
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
def test_a_task_that_is_handed_over_survives_the_deletion_of_its_former_owner(task: Task, user1: User) -> None:
    user1.delete()
    assert sent_events() == [(2, "update", ["owner", "owner_id"])]
    assert Task.objects.get().owner.get_username() == "user2"


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


def test_of_two_who_delete_the_same_tasks_one_sends_the_events(task: Task, user1: User, meanwhile: Meanwhile) -> None:
    Task.objects.create(title="Ikki", owner=user1)
    meanwhile(Task.objects.filter(pk=task.pk).delete)
    assert Task.objects.all().delete() == (1, {"tasks.Task": 1})
    assert [kind for _number, kind, _changes in sent_events()].count("deletion") == 2


def test_a_task_that_is_changed_before_its_deletion_is_deleted_as_it_is_then(task: Task, meanwhile: Meanwhile) -> None:
    meanwhile(lambda: Task.objects.filter(pk=task.pk).update(title="Ikki"))
    Task.objects.all().delete()
    assert [(number, kind) for number, kind, _changes in sent_events()] == [(2, "update"), (3, "deletion")]
    assert Message.decode(bytes(OutboxMessage.objects.get(sequence=3).body)).args[1] == "Ikki"


@pytest.mark.usefixtures("handed_over")
def test_a_task_that_does_not_match_any_more_is_not_deleted(task: Task, user1: User) -> None:
    assert Task.objects.filter(owner=user1).delete() == (0, {})
    assert Task.objects.exists()


def test_an_id_that_is_freed_and_taken_again_is_refused_to_a_third(
    task: Task, user1: User, meanwhile: Meanwhile
) -> None:
    pk = task.pk

    def take() -> None:
        task.delete()
        Task.objects.create(pk=pk, title="Yana", owner=user1)

    meanwhile(take)
    with pytest.raises(IntegrityError):
        Task.objects.create(pk=pk, title="Uchinchi", owner=user1)
    assert [(number, kind) for number, kind, _changes in sent_events()] == [(2, "deletion"), (3, "creation")]


def test_a_repair_of_a_task_that_is_gone_waits_for_who_creates_it_anew(
    task: Task, user1: User, meanwhile: Meanwhile
) -> None:
    pk = task.pk
    task.delete()
    OutboxMessage.objects.get(sequence=2).delete()  # its deletion is missing: without a wait it would be sent as 2
    meanwhile(lambda: Task.objects.create(pk=pk, title="Yana", owner=user1))
    sent, _finding = audit.repair(pk)
    assert sent == []
    assert [(number, kind) for number, kind, _changes in sent_events()] == [(2, "creation")]


def test_a_request_that_creates_a_task_for_a_user_who_is_deleted_fails(task: Task, user1: User) -> None:
    has_created, is_deleted = threading.Event(), threading.Event()
    errors: list[Exception] = []

    def create() -> None:
        try:
            with transaction.atomic():
                Task.objects.create(title="Kech", owner=user1)
                has_created.set()
                assert is_deleted.wait(30)
        except IntegrityError as error:
            errors.append(error)

    thread = in_another_thread(create)
    assert has_created.wait(30)
    User.objects.filter(pk=user1.pk).delete()
    is_deleted.set()
    thread.join(30)
    assert len(errors) == 1
    assert not Task.objects.exists()


def test_a_task_that_is_created_just_before_its_owner_is_deleted_is_deleted_with_its_event(
    task: Task, user1: User, meanwhile: Meanwhile
) -> None:
    def create() -> None:
        Task.objects.create(title="Ulgurdi", owner=user1)
        connection.check_constraints()  # as at the commit, which then waits for what the test does

    meanwhile(create)
    user1.delete()
    assert not Task.objects.exists()
    assert [kind for _number, kind, _changes in sent_events()].count("deletion") == 2
