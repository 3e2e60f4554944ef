"""Bulk changes of tasks send an event for each task, like changes of one task."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import FieldDoesNotExist
from django.db import DatabaseError, IntegrityError, NotSupportedError, connection, transaction
from django.db.models import Count, F, Q, Value
from django.db.models.functions import Concat, Length, Upper
from django.db.models.signals import post_save
from pytest_django import DjangoAssertNumQueries

from actors.outbox.models import OutboxMessage
from actors.outbox.testing import InlineWorker
from project.local.servers.process import wait_until
from tasks import audit
from tasks.history import versioning
from tasks.models import Task

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Sent = Callable[[], list[tuple[Any, ...]]]
Lines = Callable[[], list[str]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """The lines about updates and deletions."""
    caplog.set_level(logging.INFO, logger="tasks.signals")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "tasks.signals"]


@pytest.fixture
def three(user1: User) -> list[Task]:
    """Three tasks of user1, the messages of whose creation are gone."""
    tasks = Task.objects.bulk_create(Task(title=f"Vazifa {number}", owner=user1) for number in range(3))
    OutboxMessage.objects.all().delete()
    return tasks


def updated(*tasks: Task, title: str | None = None) -> list[str]:
    """Return the expected lines for updates of these tasks of user1."""
    return [f"Vazifa yangilandi: {title or task.title} (ID: {task.pk}, Owner: user1)" for task in tasks]


def test_each_of_many_created_is_sent_to_the_actor(user1: User, sent: Sent) -> None:
    tasks = Task.objects.bulk_create([Task(title="Bir", owner=user1), Task(title="Ikki", owner=user1)])
    assert sent() == [(tasks[0].pk, "Bir", "user1"), (tasks[1].pk, "Ikki", "user1")]


def test_many_are_created_through_their_owner(user1: User, sent: Sent) -> None:
    [task] = user1.tasks.bulk_create([Task(title="Bir", owner=user1)])
    assert sent() == [(task.pk, "Bir", "user1")]


def test_owners_named_by_id_cost_one_query_for_all(
    user1: User, user2: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    tasks = [Task(title="Bir", owner_id=user.pk) for user in (user1, user2) * 5]
    with django_assert_num_queries(2 + 3):  # begin and commit; tasks, owners, and all of their messages
        Task.objects.bulk_create(tasks)


def test_many_that_cannot_all_be_created_send_nothing(user1: User, sent: Sent) -> None:
    with pytest.raises(IntegrityError):
        Task.objects.bulk_create([Task(title="Bir", owner=user1), Task(title="", owner=user1)])
    assert sent() == []


def test_many_created_and_their_messages_are_one_transaction(user1: User, sent: Sent) -> None:
    with transaction.atomic():
        Task.objects.bulk_create([Task(title="Bir", owner=user1)])
        transaction.set_rollback(True)
    assert sent() == []
    assert not Task.objects.exists()


def test_a_message_that_cannot_be_written_undoes_the_creation(user1: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.signals.log_task_creation.message_with_options", lambda **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Task.objects.bulk_create([Task(title="Bir", owner=user1)])
    assert not Task.objects.exists()


def test_creating_none_tells_of_nothing(sent: Sent) -> None:
    assert Task.objects.bulk_create([]) == []
    assert sent() == []


@pytest.mark.parametrize(
    "options",
    [
        {"ignore_conflicts": True},
        {"update_conflicts": True, "update_fields": ["title"], "unique_fields": ["id"]},
    ],
)
def test_conflicts_are_refused(user1: User, options: dict[str, Any]) -> None:
    with pytest.raises(NotSupportedError, match="conflicts"):
        Task.objects.bulk_create([Task(title="Bir", owner=user1)], **options)
    assert not Task.objects.exists()


def test_each_of_many_updated_is_logged(three: list[Task], lines: Lines) -> None:
    assert Task.objects.update(completed=True) == 3
    assert lines() == updated(*three)
    assert set(Task.objects.values_list("completed", flat=True)) == {True}


def test_only_what_matched_is_logged(three: list[Task], lines: Lines) -> None:
    assert Task.objects.filter(pk__gt=three[0].pk).update(completed=True) == 2
    assert lines() == updated(*three[1:])


def test_what_stops_matching_by_the_update_is_logged(three: list[Task], lines: Lines) -> None:
    assert Task.objects.filter(completed=False).update(completed=True) == 3
    assert lines() == updated(*three)


def test_a_filter_that_counts_means_what_matched_before(
    three: list[Task], lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.history.versioning.CHUNK", 1)
    first_two = Task.objects.filter(completed=False).order_by("pk")[:2]
    assert Task.objects.filter(pk__in=first_two.values("pk")).update(completed=True) == 2
    assert lines() == updated(*three[:2])
    assert list(Task.objects.values_list("completed", flat=True)) == [True, True, False]


def test_an_update_without_a_match_tells_of_nothing(three: list[Task], lines: Lines) -> None:
    assert Task.objects.filter(title="Boshqa").update(completed=True) == 0
    assert lines() == []


@pytest.mark.parametrize("find", [Task.objects.all, Task.objects.none])
def test_an_unknown_field_is_refused(three: list[Task], find: Callable[[], Any]) -> None:
    with pytest.raises(FieldDoesNotExist):
        find().update(colour="red")


def test_an_update_of_a_slice_is_refused(three: list[Task]) -> None:
    with pytest.raises(TypeError, match="slice"):
        Task.objects.all()[:1].update(completed=True)


@pytest.mark.parametrize("name", ["id", "pk"])
def test_an_update_of_ids_is_refused(three: list[Task], name: str) -> None:
    with pytest.raises(NotSupportedError, match="ids"):
        Task.objects.update(**{name: F("id") + 10})


def test_an_update_by_an_expression_is_logged_with_what_it_came_to(three: list[Task], lines: Lines) -> None:
    Task.objects.filter(pk=three[0].pk).update(title=Upper("title"))
    assert lines() == updated(three[0], title="VAZIFA 0")


def test_an_update_by_an_annotation_is_logged(three: list[Task], lines: Lines) -> None:
    with_greeting = Task.objects.annotate(greeting=Concat(Value("Salom, "), "title"), length=Length("title"))
    assert with_greeting.filter(length=8, pk=three[0].pk).update(title=F("greeting")) == 1
    assert lines() == updated(three[0], title="Salom, Vazifa 0")


def test_an_update_of_what_joins_and_groups_found_is_logged(three: list[Task], lines: Lines) -> None:
    found = Task.objects.filter(owner__username="user1").distinct().annotate(n=Count("owner__tasks")).filter(n=3)
    assert found.update(completed=True) == 3
    assert lines() == updated(*three)


def test_an_annotated_update_that_changes_what_others_match_is_undone(
    three: list[Task], lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.history.versioning.CHUNK", 1)
    siblings = Count("owner__tasks", filter=Q(owner__tasks__completed=False))
    with pytest.raises(NotSupportedError, match="others"):
        Task.objects.annotate(siblings=siblings).filter(siblings=3).update(completed=True)
    assert lines() == []
    assert not Task.objects.filter(completed=True).exists()


def test_an_update_through_the_owner_is_logged(three: list[Task], user1: User, user2: User, lines: Lines) -> None:
    Task.objects.create(title="Boshqaniki", owner=user2)
    assert user1.tasks.update(completed=True) == 3
    assert lines() == updated(*three)


def test_giving_tasks_to_an_owner_is_logged(user1: User, user2: User, lines: Lines) -> None:
    task = Task.objects.create(title="Bir", owner=user2)
    user1.tasks.add(task)
    assert lines() == updated(task)


def test_an_update_that_is_rolled_back_is_not_logged(three: list[Task], lines: Lines) -> None:
    with transaction.atomic():
        Task.objects.update(completed=True)
        transaction.set_rollback(True)
    assert lines() == []


def test_an_update_in_chunks_is_one_transaction(
    three: list[Task], lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_at_the_last(instance: Task, **kwargs: Any) -> None:
        if instance.pk == three[-1].pk:
            raise ValueError

    monkeypatch.setattr("tasks.history.versioning.CHUNK", 1)
    post_save.connect(fail_at_the_last, sender=Task)
    try:
        with pytest.raises(ValueError):  # noqa: PT011 – the one above
            Task.objects.update(completed=True)
    finally:
        post_save.disconnect(fail_at_the_last, sender=Task)
    assert lines() == []
    assert not Task.objects.filter(completed=True).exists()


def test_many_more_than_a_chunk_are_all_updated_and_sent_in_order(
    user1: User, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.history.versioning.CHUNK", 7)
    tasks = Task.objects.bulk_create(Task(title=f"Vazifa {n}", owner=user1) for n in range(20))
    assert Task.objects.order_by("-title").update(completed=True) == 20
    assert lines() == updated(*tasks)


def test_an_update_says_which_fields(three: list[Task]) -> None:
    received: list[Any] = []

    def remember(update_fields: Any, **kwargs: Any) -> None:
        received.append(update_fields)

    post_save.connect(remember, sender=Task)
    try:
        Task.objects.filter(pk=three[0].pk).update(completed=True, description="x")
    finally:
        post_save.disconnect(remember, sender=Task)
    assert received == [frozenset({"completed", "description"})]


@pytest.mark.parametrize("batch_size", [None, 2])
def test_each_of_a_bulk_update_is_logged_once(three: list[Task], lines: Lines, batch_size: int | None) -> None:
    for task in three:
        task.title = f"Yangi {task.pk}"
    assert Task.objects.bulk_update(three, ["title"], batch_size=batch_size) == 3
    assert lines() == updated(*three)


def test_a_saved_task_is_sent_once(user1: User, sent: Sent, lines: Lines) -> None:
    task = Task.objects.create(title="Bir", owner=user1)
    task.completed = True
    task.save()
    task.title = "Ikki"
    task.save(update_fields=["title"])
    assert sent() == [(task.pk, "Bir", "user1"), (task.pk, "Bir", "user1"), (task.pk, "Ikki", "user1")]
    assert lines() == [*updated(task, title="Bir"), *updated(task)]


@pytest.mark.parametrize(
    "fields", [{}, {"description": "Tab\t, 'qator'\n", "completed": True}, {"pk": 77}, {"title": "ў" * 200}]
)
def test_a_created_task_is_what_the_database_has(user1: User, fields: dict[str, Any]) -> None:
    made = Task(**{"title": "Bir", "owner": user1, **fields})
    made.save()
    kept = Task.objects.get()
    names = [field.attname for field in Task._meta.concrete_fields]
    assert [getattr(made, name) for name in names] == [getattr(kept, name) for name in names]
    assert not made._state.adding


def test_an_expression_is_computed_by_the_database(user1: User) -> None:
    Task.objects.create(title="Bir", description=Upper(Value("baland")), owner=user1)
    assert Task.objects.get().description == "BALAND"


def test_a_task_of_an_owner_that_is_not_saved_is_refused() -> None:
    with pytest.raises(ValueError, match="unsaved related object"):
        Task(title="Bir", owner=User(username="user3")).save()


def test_the_statements_of_a_create_are_parsed_once_a_connection(database: str, user1: User) -> None:
    if database == "sqlite":
        pytest.skip("SQLite keeps no statements for a connection")
    connection.close()
    for number in range(3):
        Task.objects.create(title=f"Vazifa {number}", owner=user1)
    with connection.cursor() as cursor:
        cursor.execute(r"SELECT statement FROM pg_prepared_statements WHERE statement ~ '^\s*INSERT'")
        kept = sorted(statement.split()[2] for (statement,) in cursor.fetchall())
    assert kept == ['"tasks_task"', "outbox_outboxmessage"]


def test_what_is_got_or_created_is_sent_if_it_is_created(user1: User, sent: Sent, lines: Lines) -> None:
    task, _created = Task.objects.get_or_create(title="Bir", owner=user1)
    Task.objects.get_or_create(title="Bir", owner=user1)
    assert sent() == [(task.pk, "Bir", "user1")]
    assert lines() == []


def test_what_is_updated_or_created_is_sent_once_each_time(user1: User, sent: Sent, lines: Lines) -> None:
    for completed in (False, True):
        task, _created = Task.objects.update_or_create({"completed": completed}, title="Bir", owner=user1)
    assert sent() == [(task.pk, "Bir", "user1")] * 2
    assert lines() == updated(task)


def test_deleting_many_and_what_tells_of_them_are_one_transaction(
    three: list[Task], lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> str:
        if kwargs["task_id"] == three[-1].pk:
            raise ValueError
        return "line"

    monkeypatch.setattr("tasks.signals.task_line", fail)
    with pytest.raises(ValueError):  # noqa: PT011 – the one above
        Task.objects.all().delete()
    assert Task.objects.count() == 3
    assert lines() == []


def test_the_same_update_by_two_at_once_is_sent_once(database: str, three: list[Task], lines: Lines) -> None:
    if database == "sqlite":
        pytest.skip("an in-memory database has one connection")
    counts: list[int] = []

    def complete() -> None:
        try:
            counts.append(Task.objects.filter(completed=False).update(completed=True))
        finally:
            connection.close()

    with transaction.atomic():
        assert Task.objects.filter(completed=False).update(completed=True) == 3
        other = threading.Thread(target=complete)
        other.start()
        assert wait_until(someone_waits_for_a_lock, timeout_seconds=30)
    other.join()
    assert counts == [0]
    assert lines() == updated(*three)


def someone_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_a_mass_change_has_a_queue_of_its_own_and_its_lines_are_a_workers(
    three: list[Task], lines: Lines, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="actors.activity")
    Task.objects.update(completed=True)
    assert lines() == updated(*three)
    monkeypatch.setattr(versioning, "MASS", 2)
    Task.objects.filter(pk__gt=three[0].pk).update(title="Ikkita")
    Task.objects.update(title="Hammasi")
    Task.objects.bulk_create([Task(title="Yana", owner=three[0].owner)])
    Task.objects.all().delete()
    queues = OutboxMessage.objects.order_by("pk").values_list("queue", flat=True)
    assert list(queues) == ["activity"] * 5 + ["bulk"] * 3 + ["activity"] + ["bulk"] * 4
    assert lines() == [*updated(*three), *updated(*three[1:], title="Ikkita")]
    InlineWorker().deliver_all()
    logged = [record.getMessage() for record in caplog.records if record.name == "actors.activity"]
    assert [line.split(": ")[0] for line in logged] == [
        *["[Dramatiq] Vazifa yangilandi"] * 3,
        "[Dramatiq] Yangi vazifa yaratildi",
        *["[Dramatiq] Vazifa o'chirildi"] * 4,
    ]


def test_many_are_deleted_in_chunks_and_counted(
    three: list[Task], lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Task.objects.filter(title="Boshqa").delete() == (0, {})
    monkeypatch.setattr(versioning, "CHUNK", 2)
    assert Task.objects.order_by("-title").delete() == (3, {"tasks.Task": 3})
    assert [line.split(" (")[0] for line in lines()] == [f"Vazifa o'chirildi: Vazifa {n}" for n in range(3)]
    assert [row.sequence for row in OutboxMessage.objects.all()] == [2, 2, 2]


def test_a_deletion_of_a_slice_is_refused(three: list[Task]) -> None:
    with pytest.raises(TypeError, match="limit"):
        Task.objects.all()[:1].delete()
    assert not hasattr(Task.objects, "delete")


def test_a_task_that_was_not_saved_or_is_gone_is_not_deleted(three: list[Task], lines: Lines) -> None:
    with pytest.raises(ValueError, match="id attribute is set to None"):
        Task(title="Bir").delete()
    Task.objects.get(pk=three[0].pk).delete()
    assert three[0].delete() == (0, {"tasks.Task": 0})
    assert len(lines()) == 1


@pytest.mark.parametrize("options", [{"force_update": True}, {"update_fields": ["title"]}])
def test_a_task_that_is_gone_is_not_updated(three: list[Task], sent: Sent, options: dict[str, Any]) -> None:
    Task.objects.get(pk=three[0].pk).delete()
    three[0].title = "Boshqa"
    with pytest.raises(DatabaseError, match="does not exist"):
        three[0].save(**options)
    assert len(sent()) == 1


def test_each_of_many_created_under_used_ids_continues_its_history(user1: User) -> None:
    ids = [501, 502, 503]
    Task.objects.create(pk=501, title="Bir", owner=user1).delete()
    Task.objects.create(pk=503, title="Bir", owner=user1)
    Task.objects.update(title="Uch")
    Task.objects.all().delete()
    created = Task.objects.bulk_create(Task(pk=pk, title="Yana", owner=user1) for pk in ids)
    assert [task.version for task in created] == [3, 1, 4]
    assert list(Task.objects.order_by("pk").values_list("version", flat=True)) == [3, 1, 4]
    assert not any(audit.examine(pk) for pk in ids)
