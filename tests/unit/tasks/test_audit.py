"""`activity verify` finds missing events, sends those that can be restored, and names the others."""

import re
import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import serializers
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone
from dramatiq import Message

from actors.models import Activity
from actors.outbox.dead_letters import decisions
from actors.outbox.models import Operator, OutboxMessage
from actors.outbox.testing import InlineWorker
from actors.retention import prune
from tasks import audit
from tasks.listing import count_ledger
from tasks.models import Task
from tests.unit.outbox.race_steps import in_another_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

COMPLETE = "Every version of every task is logged once, or is on its way."


@pytest.fixture
def inline_worker() -> InlineWorker:
    return InlineWorker()


@pytest.fixture
def task(user1: User) -> Task:
    """A task of three versions, none of which is logged yet."""
    task = Task.objects.create(title="Bir", description="Uzun", owner=user1)
    for title in ("Ikki", "Uch"):
        task.title = title
        task.save()
    return task


def verify(*arguments: str) -> str:
    """Run the command and return what it says; the error, if it fails, is its last line."""
    out = StringIO()
    try:
        call_command("activity", "verify", *arguments, stdout=out, no_color=True)
    except CommandError as error:
        return f"{out.getvalue()}{error}"
    return out.getvalue()


def lose(version: int) -> OutboxMessage:
    row = OutboxMessage.objects.get(sequence=version)
    row.delete()
    return row


def logged() -> list[tuple[Any, ...]]:
    return list(Activity.objects.order_by("version").values_list("version", "event", "title", "changes"))


def test_nothing_is_wrong_where_nothing_is() -> None:
    assert verify() == f"0 tasks, 0 versions logged, 0 on their way, 0 dead.\n{COMPLETE}\n"


def test_what_is_on_its_way_is_not_missing(task: Task, inline_worker: InlineWorker) -> None:
    inline_worker.deliver(OutboxMessage.objects.get(sequence=2))
    assert verify() == f"1 tasks, 1 versions logged, 2 on their way, 0 dead.\n{COMPLETE}\n"
    inline_worker.deliver_all()
    assert verify("--task", str(task.pk)) == f"1 tasks, 3 versions logged, 0 on their way, 0 dead.\n{COMPLETE}\n"


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("deliver_first", [True, False])
def test_one_missing_version_is_found_and_follows_from_the_others(
    task: Task, inline_worker: InlineWorker, version: int, deliver_first: bool
) -> None:
    body = bytes(lose(version).body)
    if deliver_first:
        inline_worker.deliver_all()

    assert f"task {task.pk}: not logged: {version}\n" in verify()
    assert f"task {task.pk}: sent again: {version}\n" in verify("--repair")
    inline_worker.deliver_all()

    assert COMPLETE in verify()
    sent_again = next(row for row in logged() if row[0] == version)
    original = Message.decode(body)
    assert sent_again[2:] == (original.args[1], original.kwargs["details"]["changes"])
    assert Activity.objects.get(version=version).changed_by == "activity verify"


def test_a_missing_deletion_is_found_and_sent_again(task: Task, inline_worker: InlineWorker) -> None:
    pk = task.pk
    task.delete()
    lose(4)
    inline_worker.deliver_all()
    assert f"task {pk}: not logged: 4 (the deletion)" in verify()
    verify("--repair")
    inline_worker.deliver_all()
    assert COMPLETE in verify()
    assert logged()[-1][:3] == (4, "task.deleted", "Uch")


def test_a_missing_update_of_a_deleted_task_follows_from_the_others(task: Task, inline_worker: InlineWorker) -> None:
    task.delete()
    lose(2)
    inline_worker.deliver_all()
    verify("--repair")
    inline_worker.deliver_all()
    assert COMPLETE in verify()
    assert logged()[1] == (2, "task.updated", "Ikki", {"title": ["Bir", "Ikki"]})


def test_of_several_missing_versions_none_can_be_derived(task: Task, inline_worker: InlineWorker) -> None:
    lose(2)
    lose(3)
    inline_worker.deliver_all()
    assert f"task {task.pk}: not logged: 2–3 – cannot be sent again" in verify("--repair")
    assert "1 tasks are not logged completely" in verify("--repair")
    assert not OutboxMessage.objects.exists()


def test_a_task_of_which_nothing_is_known_is_found(task: Task) -> None:
    OutboxMessage.objects.all().delete()
    assert f"task {task.pk}: not logged: 1–3" in verify()


def test_a_dead_letter_is_for_a_person_to_decide(task: Task, inline_worker: InlineWorker) -> None:
    OutboxMessage.objects.filter(sequence=2).mark_dead("throws")
    inline_worker.deliver_all()
    said = verify("--repair")
    assert f"task {task.pk}: dead letters: 2\n" in said
    assert "1 dead." in said
    assert "manage.py deadletters" in said
    assert OutboxMessage.objects.get().state == "dead"


def test_what_was_discarded_is_sent_again_as_it_was(task: Task, inline_worker: InlineWorker) -> None:
    OutboxMessage.objects.filter(sequence__in=[2, 3]).mark_dead("throws")
    decisions.discard(OutboxMessage.objects.filter(state="dead"), by=Operator(name="test"), why="by mistake")
    inline_worker.deliver_all()
    assert f"task {task.pk}: sent again: 2, 3\n" in verify("--repair")
    inline_worker.deliver_all()
    assert COMPLETE in verify()
    assert [row[3] for row in logged()[1:]] == [{"title": ["Bir", "Ikki"]}, {"title": ["Ikki", "Uch"]}]


def test_a_task_from_a_fixture_is_taken_into_the_log(user1: User, inline_worker: InlineWorker) -> None:
    then = timezone.now()
    fixture = serializers.serialize("json", [Task(pk=7, title="Eski", owner=user1, created_at=then, updated_at=then)])
    for loaded in serializers.deserialize("json", fixture):
        loaded.save()
    assert "task 7: not logged: 1" in verify()
    verify("--repair")
    inline_worker.deliver_all()
    assert COMPLETE in verify()


def test_what_the_task_has_not_reached_is_found(task: Task, inline_worker: InlineWorker) -> None:
    inline_worker.deliver_all()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE tasks_task SET version = 2")
    assert f"task {task.pk}: beyond the task's version: 3" in verify("--repair")


def test_what_was_pruned_is_not_missing_and_what_is_lost_since_is(task: Task, inline_worker: InlineWorker) -> None:
    inline_worker.deliver_all()
    assert prune(timezone.now() + timedelta(seconds=1)) == 3
    assert COMPLETE in verify()
    Task.objects.filter(pk=task.pk).update(completed=True)
    Task.objects.filter(pk=task.pk).update(completed=False)
    assert COMPLETE in verify()
    lose(4)
    inline_worker.deliver_all()
    assert COMPLETE in verify()  # it cannot be distinguished from one that was pruned
    Task.objects.filter(pk=task.pk).update(completed=True)
    lose(6)
    assert f"task {task.pk}: not logged: 6" in verify()


def test_subjects_of_others_are_no_versions_of_tasks(task: Task) -> None:
    OutboxMessage.objects.filter(sequence=1).update(actor="log_task_creation")
    row = OutboxMessage.objects.get(sequence=3)
    for subject in ("task:", "task:abc", "task:99999999999999999999", "letter:1"):
        row.pk, row.subject, row.actor, row.sequence = None, subject, "post_letter", 9
        row.save(force_insert=True)
    assert COMPLETE in verify()


def test_a_task_made_anew_under_an_old_id_goes_on_counting(
    task: Task, user1: User, inline_worker: InlineWorker
) -> None:
    pk = task.pk
    task.delete()
    Task.objects.create(pk=pk, title="Yana", owner=user1)
    assert Task.objects.get().version == 5
    inline_worker.deliver_all()
    assert COMPLETE in verify()
    assert [row[1] for row in logged()][3:] == ["task.deleted", "task.created"]


def test_nothing_seems_missing_while_everything_goes_on(database: str, user1: User) -> None:
    if database == "sqlite":
        pytest.skip("an in-memory database has one connection")
    tasks = [Task.objects.create(title="Bir", owner=user1) for _ in range(10)]
    stop = threading.Event()

    def change() -> None:
        for number in range(40):
            Task.objects.filter(pk=tasks[number % 9].pk).update(title=str(number))
        tasks[9].delete()
        stop.set()

    def work() -> None:
        inline_worker = InlineWorker()
        while not stop.is_set():
            inline_worker.deliver_all()

    threads = [in_another_thread(change), in_another_thread(work)]
    said: list[str] = []
    while not stop.is_set():
        said.append(verify())
    for thread in threads:
        thread.join()
    InlineWorker().deliver_all()
    said.append(verify())
    assert [text for text in said if COMPLETE not in text] == []
    assert Activity.objects.count() == 10 + 40 + 1


def test_what_does_not_follow_is_not_made_up(task: Task, inline_worker: InlineWorker) -> None:
    OutboxMessage.objects.filter(sequence=2).update(state="dead", body=b"garbage")
    lose(3)
    assert "cannot be sent again" in verify("--repair")
    assert list(OutboxMessage.objects.order_by("sequence").values_list("sequence", flat=True)) == [1, 2]


def test_a_creation_that_was_logged_without_its_changes_tells_of_no_state(
    task: Task, inline_worker: InlineWorker
) -> None:
    inline_worker.deliver(OutboxMessage.objects.get(sequence=3))
    lose(1)
    lose(2)
    Activity.objects.create(event="task.created", task_id=task.pk, title="Bir", owner="user1")
    assert "cannot be sent again" in verify("--repair")
    assert not OutboxMessage.objects.exists()


def test_what_is_not_logged_yet_is_not_left_behind_by_pruning(task: Task, inline_worker: InlineWorker) -> None:
    inline_worker.deliver(OutboxMessage.objects.get(sequence=2))
    assert prune(timezone.now() + timedelta(seconds=1)) == 0
    assert COMPLETE in verify()


@pytest.fixture
def on_postgresql(database: str) -> None:
    if database != "postgresql":
        pytest.skip("SQLite has no ledger and one order")


@pytest.mark.usefixtures("on_postgresql")
def test_counts_that_missed_a_load_are_noticed_and_repaired(task: Task) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE tasks_task SET completed = true")
    assert "The counts of tasks are wrong" in verify()
    assert count_ledger.count(Task.objects.filter(completed=True)) == 0
    assert "are right now" in verify("--repair")
    assert count_ledger.count(Task.objects.filter(completed=True)) == 1
    assert COMPLETE in verify()


@pytest.mark.usefixtures("on_postgresql")
def test_a_log_whose_numbers_are_not_in_order_is_noticed(task: Task, inline_worker: InlineWorker) -> None:
    inline_worker.deliver_all()
    assert COMPLETE in verify()
    now = timezone.now()
    for version, number, age in ((1, 7, timedelta()), (2, 8, timedelta(hours=2))):
        values = {"task_id": 0, "version": version, "transaction": number, "logged_at": now - age}
        Activity.objects.create(event="task.created", title="Bir", owner="user1", **values)
    assert "The stream has 1 events after younger ones" in verify()


def test_sqlite_before_3_39_can_judge() -> None:
    assert not re.search("(FULL|RIGHT)( OUTER)? JOIN", audit.JUDGE + audit.JOINED["sqlite"])
