"""A user and their tasks are deleted in steps, by a command or by the workers, and the admin shows how far it is."""

import logging
from io import StringIO

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from actors.models import Activity
from actors.outbox.models import OutboxMessage
from actors.outbox.testing import InlineWorker
from tasks import user_deletion
from tasks.activity import start_deletion
from tasks.models import IdempotencyKey, Task
from tests.conftest import PASSWORD
from tests.unit.schema_client import SchemaCheckingClient

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

LIST = reverse("admin:auth_user_changelist")


@pytest.fixture(autouse=True)
def chunks_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tasks.user_deletion.CHUNK", "tasks.management.commands.delete_user.CHUNK"):
        monkeypatch.setattr(name, 2)


@pytest.fixture
def five(user1: User, user2: User) -> None:
    """Five tasks of user1 and one of user2, logged, and an idempotency key of user1."""
    Task.objects.bulk_create(Task(title=f"Vazifa {number}", owner=user1) for number in range(5))
    Task.objects.create(title="Boshqaniki", owner=user2)
    IdempotencyKey.objects.create(user=user1, key="bir", fingerprint="", status=201, body="{}")
    InlineWorker().deliver_all()


@pytest.fixture
def inline_worker() -> InlineWorker:
    return InlineWorker()


@pytest.fixture
def browser(admin_user: User) -> Client:
    client = Client()
    client.force_login(admin_user)
    return client


def delete_user(name: str) -> str:
    out = StringIO()
    call_command("delete_user", name, stdout=out)
    return out.getvalue()


def deletion_column(browser: Client, user: User) -> str:
    [shown] = [row for row in browser.get(LIST).context["cl"].result_list if row.pk == user.pk]
    page = browser.get(LIST).content.decode().split(f">{user.username}<")[1]
    assert hasattr(shown, "deletion_state")
    return page.split('field-deletion">')[1].split("<")[0]


def step(worker: InlineWorker) -> None:
    """Run the job once: one step, and the message that continues it."""
    worker.deliver(OutboxMessage.objects.get(actor="delete_user"))


@pytest.mark.usefixtures("five")
def test_the_command_deletes_a_user_and_their_tasks_with_every_event(inline_worker: InlineWorker) -> None:
    assert delete_user("user1") == "user1 and 5 tasks deleted.\n"
    assert [task.title for task in Task.objects.all()] == ["Boshqaniki"]
    assert [user.username for user in User.objects.all()] == ["user2"]
    inline_worker.deliver_all()
    deleted = Activity.objects.filter(event="task.deleted")
    assert sorted(deleted.values_list("title", "version", "changed_by")) == [
        (f"Vazifa {number}", 2, "delete_user") for number in range(5)
    ]


@pytest.mark.usefixtures("five")
def test_a_command_that_was_interrupted_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def delete_twice(user_id: int) -> bool:
        if Task.objects.filter(owner_id=user_id).count() == 1:
            raise KeyboardInterrupt
        return user_deletion.delete_some(user_id)

    with monkeypatch.context() as patch:
        patch.setattr("tasks.management.commands.delete_user.delete_some", delete_twice)
        with pytest.raises(KeyboardInterrupt):
            delete_user("user1")
    assert delete_user("user1") == "user1 and 1 tasks deleted.\n"


def test_a_user_who_does_not_exist_is_named() -> None:
    with pytest.raises(CommandError, match=r"There is no user 'user7'\."):
        delete_user("user7")


@pytest.mark.usefixtures("five")
def test_a_user_who_is_activated_again_is_not_deleted(user1: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.management.commands.delete_user.deactivate", lambda user: None)
    with pytest.raises(CommandError, match=r"user1 is active again, with 5 tasks: not deleted\."):
        delete_user("user1")


@pytest.mark.usefixtures("five")
def test_the_job_deletes_a_step_a_message_and_ends(user1: User, inline_worker: InlineWorker) -> None:
    start_deletion(user1)
    start_deletion(user1)
    left = []
    while OutboxMessage.objects.filter(actor="delete_user").exists():
        step(inline_worker)
        left.append(Task.objects.filter(owner_id=user1.pk).count())
    assert left == [3, 1, 0]
    assert not User.objects.filter(pk=user1.pk).exists()
    assert OutboxMessage.objects.filter(actor="log_task_deletion").count() == 5


@pytest.mark.usefixtures("five")
def test_a_step_that_fails_is_undone_and_tried_again(
    user1: User, inline_worker: InlineWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_deletion(user1)
    with monkeypatch.context() as patch:
        patch.setattr("tasks.activity._send", lambda user_id: 1 / 0)
        step(inline_worker)
    assert Task.objects.filter(owner=user1).count() == 5
    assert OutboxMessage.objects.get().state == "scheduled"
    OutboxMessage.objects.update(state="pending")
    inline_worker.deliver_all()
    assert not User.objects.filter(username="user1").exists()


@pytest.mark.usefixtures("five")
def test_the_job_stops_where_the_user_is_activated_again(
    user1: User, inline_worker: InlineWorker, caplog: pytest.LogCaptureFixture
) -> None:
    start_deletion(user1)
    step(inline_worker)
    User.objects.filter(pk=user1.pk).update(is_active=True)
    with caplog.at_level(logging.WARNING, logger="tasks.activity"):
        step(inline_worker)
    assert caplog.messages[-1:] == [
        f"deletion stopped user={user1.pk}: user1 is active again, with 3 tasks: not deleted"
    ]
    assert Task.objects.filter(owner=user1).count() == 3
    assert not OutboxMessage.objects.filter(actor="delete_user").exists()


@pytest.mark.usefixtures("five")
def test_a_task_that_is_created_late_is_deleted_too_and_the_token_is_refused(
    user1: User, client1: APIClient, inline_worker: InlineWorker
) -> None:
    client = SchemaCheckingClient()
    token = client.post("/api/token/", {"username": "user1", "password": PASSWORD}).json()["access"]
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert client.get("/tasks/").status_code == 200
    User.objects.filter(pk=user1.pk).update(is_active=False)
    user_deletion.delete_some(user1.pk)
    assert client.post("/tasks/", {"title": "Juda kech"}).status_code == 401
    assert client1.post("/tasks/", {"title": "Kech"}).status_code == 201, "its user was read before the deactivation"
    while user_deletion.delete_some(user1.pk):
        pass
    assert not Task.objects.filter(title="Kech").exists()
    assert client.post("/tasks/", {"title": "Juda kech"}).status_code == 401


@pytest.mark.usefixtures("five")
def test_the_page_before_a_deletion_counts_the_tasks_and_lists_none(browser: Client, user1: User) -> None:
    form = {"action": "delete_selected", "_selected_action": [user1.pk]}
    for page in (browser.get(reverse("admin:auth_user_delete", args=[user1.pk])), browser.post(LIST, form)):
        text = page.content.decode()
        assert "Tasks: 5" in text
        assert "Users: 1" in text
        assert "Vazifa 1" not in text
    assert User.objects.get(pk=user1.pk).is_active


@pytest.mark.usefixtures("five")
@pytest.mark.parametrize("by_action", [False, True])
def test_a_deletion_in_the_admin_is_a_job_that_is_shown_as_it_goes(
    browser: Client, user1: User, inline_worker: InlineWorker, by_action: bool
) -> None:
    assert deletion_column(browser, user1) == "-"
    delete = reverse("admin:auth_user_delete", args=[user1.pk])
    form = {"action": "delete_selected", "_selected_action": [user1.pk], "post": "yes"}
    page = browser.post(LIST if by_action else delete, form, follow=True)
    [message] = page.context["messages"]
    assert str(message) == "user1 is deactivated, and is being deleted with 5 tasks."
    assert deletion_column(browser, user1) == "being deleted, 5 tasks left"
    step(inline_worker)
    assert deletion_column(browser, user1) == "being deleted, 3 tasks left"
    change = browser.get(reverse("admin:auth_user_change", args=[user1.pk])).content.decode()
    assert "being deleted, 3 tasks left" in change
    OutboxMessage.objects.filter(actor="delete_user").update(state="dead")
    assert deletion_column(browser, user1) == "failed, with 3 tasks left: see the dead letters"
    OutboxMessage.objects.filter(actor="delete_user").update(state="pending")
    inline_worker.deliver_all()
    assert not User.objects.filter(pk=user1.pk).exists()
    assert set(Activity.objects.filter(event="task.deleted").values_list("changed_by", flat=True)) == {"admin"}


@pytest.mark.usefixtures("five")
def test_an_operator_who_activates_a_user_again_is_told_that_the_deletion_stops(browser: Client, user1: User) -> None:
    start_deletion(user1)
    form = {"username": "user1", "is_active": "on", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    page = browser.post(reverse("admin:auth_user_change", args=[user1.pk]), form, follow=True)
    assert "user1 is active again: their deletion stops, with 5 tasks left." in map(str, page.context["messages"])


@pytest.mark.usefixtures("five")
def test_a_deletion_that_was_stopped_does_not_go_on_when_the_user_is_deactivated_later(
    browser: Client, user1: User, inline_worker: InlineWorker
) -> None:
    start_deletion(user1)
    form = {"username": "user1", "is_active": "on", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    browser.post(reverse("admin:auth_user_change", args=[user1.pk]), form)
    User.objects.filter(pk=user1.pk).update(is_active=False)
    inline_worker.deliver_all()
    assert user1.tasks.count() == 5


def test_a_deletion_is_not_started_of_a_user_whom_a_worker_has_just_deleted(user1: User) -> None:
    User.objects.filter(pk=user1.pk).delete()
    start_deletion(user1)
    assert not OutboxMessage.objects.exists()


def test_an_operator_may_delete_themselves(browser: Client, admin_user: User, inline_worker: InlineWorker) -> None:
    Task.objects.create(title="Meniki", owner=admin_user)
    answer = browser.post(reverse("admin:auth_user_delete", args=[admin_user.pk]), {"post": "yes"})
    assert answer.status_code == 302
    assert browser.get(LIST).status_code == 302  # to the login
    inline_worker.deliver_all()
    assert not User.objects.exists()
    assert not Task.objects.exists()


@pytest.mark.parametrize("permissions", [["delete_user", "view_user"], ["delete_task", "view_user"]])
def test_who_may_not_delete_users_or_tasks_starts_no_deletion(user1: User, user2: User, permissions: list[str]) -> None:
    User.objects.filter(pk=user2.pk).update(is_staff=True)
    user2.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(User.objects.get(pk=user2.pk))
    form = {"action": "delete_selected", "_selected_action": [user1.pk], "post": "yes"}
    assert client.post(reverse("admin:auth_user_delete", args=[user1.pk]), form).status_code == 403
    client.post(LIST, form)
    assert User.objects.get(pk=user1.pk).is_active
    assert not OutboxMessage.objects.exists()


def test_users_are_deleted_in_a_shell_as_ever(user1: User, user2: User) -> None:
    Task.objects.create(title="Bir", owner=user1)
    Task.objects.create(title="Ikki", owner=user2)
    User.objects.filter(username__startswith="user").delete()
    assert not User.objects.exists()
    assert not Task.objects.exists()
    assert OutboxMessage.objects.filter(actor="log_task_deletion").count() == 2
