"""Tasks in the admin: usable, and changes made there send the same events as any others."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tasks.models import Task

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("database"),
    # WhiteNoise has nothing to serve until `collectstatic` has run.
    pytest.mark.filterwarnings("ignore:No directory at:UserWarning"),
]

LIST = "/admin/tasks/task/"
ADD = "/admin/tasks/task/add/"

Sent = Callable[[], list[tuple[Any, ...]]]


@pytest.fixture
def browser(admin_client: Client) -> Client:
    """A superuser's client, to which a 500 is returned as a response."""
    admin_client.raise_request_exception = False
    return admin_client


def listed(browser: Client, **parameters: str) -> set[str]:
    """Return the titles that the list shows."""
    response = browser.get(LIST, parameters)
    assert response.status_code == 200
    return {task.title for task in response.context["cl"].result_list}


def change_address(task: Task) -> str:
    return reverse("admin:tasks_task_change", args=[task.pk])


@pytest.fixture
def two_tasks(user1: User, user2: User) -> tuple[Task, Task]:
    return (
        Task.objects.create(title="Non olish", description="Bozordan", owner=user1),
        Task.objects.create(title="Kitob", completed=True, owner=user2),
    )


def test_the_list_shows_what_a_person_looks_for(browser: Client, task: Task) -> None:
    page = browser.get(LIST).content.decode()

    for column in ("title", "owner", "completed", "created_at", "updated_at"):
        assert f"column-{column}" in page
    assert "Yangi vazifa" in page
    assert "user1" in page


@pytest.mark.usefixtures("two_tasks")
def test_the_list_is_filtered_by_completion(browser: Client) -> None:
    assert listed(browser, completed__exact="1") == {"Kitob"}
    assert listed(browser, completed__exact="0") == {"Non olish"}


@pytest.mark.usefixtures("two_tasks")
def test_the_list_is_filtered_by_time(browser: Client) -> None:
    assert listed(browser, created_at__gte="2001-01-01 00:00:00+00:00") == {"Kitob", "Non olish"}
    assert listed(browser, created_at__lt="2001-01-01 00:00:00+00:00") == set()


@pytest.mark.usefixtures("two_tasks")
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("kit", {"Kitob"}),
        ("bozor", {"Non olish"}),
        ("user2", {"Kitob"}),
        ("nothing", set()),
        ("'\"%", set()),
        ("'", set()),
        *((text, {"Kitob"}) for text in ("KIT", '"kitob"', "ki tob", "USER2 kit", "'kitob'")),
    ],
)
def test_the_list_is_searched(browser: Client, text: str, found: set[str]) -> None:
    assert listed(browser, q=text) == found


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({"q": "a\0b"}, id="NUL in a search"),
        pytest.param({"completed__exact": "\0"}, id="NUL in a filter"),
        pytest.param({"created_at__gte": "x\0"}, id="NUL for a time"),
        pytest.param({"created_at__year": "99999"}, id="year beyond the calendar"),
        pytest.param({"p": "9" * 30}, id="page beyond the last"),
        pytest.param({"o": "99.-99.x"}, id="order by no column"),
        pytest.param({"nothing": "1"}, id="an unknown filter"),
    ],
)
def test_garbage_in_the_address_of_the_list_breaks_nothing(
    browser: Client, task: Task, parameters: dict[str, str]
) -> None:
    assert browser.get(LIST, parameters).status_code in {200, 302, 400}


@pytest.mark.parametrize("task_id", ["999999", "abc", "9" * 30, "%00", "_00"])
def test_a_task_that_is_not_there_leads_back(browser: Client, task_id: str) -> None:
    assert browser.get(f"{LIST}{task_id}/change/").status_code in {302, 404}


def test_the_list_needs_no_query_for_each_owner(
    browser: Client, user1: User, django_assert_max_num_queries: Callable[[int], Any]
) -> None:
    users = [User.objects.create_user(f"owner{number}") for number in range(30)]
    Task.objects.bulk_create(Task(title=user.username, owner=user) for user in users)

    with django_assert_max_num_queries(10):
        browser.get(LIST)


def test_the_signed_in_user_is_proposed_as_the_owner(browser: Client, admin_user: User) -> None:
    form = browser.get(ADD).context["adminform"].form

    assert form.get_initial_for_field(form.fields["owner"], "owner") == admin_user.pk


def test_an_owner_is_named_by_id_and_not_picked_from_all_users(browser: Client, user1: User) -> None:
    page = browser.get(ADD).content.decode()

    assert 'class="vForeignKeyRawIdAdminField' in page
    assert "user1" not in page


def test_times_are_shown_and_cannot_be_changed(browser: Client, task: Task) -> None:
    created_at = task.created_at
    response = browser.get(change_address(task))
    assert set(response.context["adminform"].form.fields) == {"title", "description", "completed", "owner"}
    assert "field-created_at" in response.content.decode()

    form = {"title": "Boshqa", "owner": task.owner_id, "created_at_0": "2001-01-01", "created_at_1": "00:00"}
    assert browser.post(change_address(task), form).status_code == 302

    task.refresh_from_db()
    assert (task.title, task.created_at) == ("Boshqa", created_at)


def test_a_task_made_in_the_admin_is_sent_to_the_actor(browser: Client, admin_user: User, sent: Sent) -> None:
    response = browser.post(ADD, {"title": "Admindan", "description": "", "owner": admin_user.pk})

    task = Task.objects.get()
    assert response.status_code == 302
    assert (task.title, task.owner) == ("Admindan", admin_user)
    assert sent() == [(task.pk, "Admindan", "admin")]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("title", value) for value in ("", "   ", "a" * 201, "a\0b")),
        *(("owner", value) for value in ("", "abc", "9" * 30, "\0")),
        ("description", "\0"),
    ],
)
def test_a_form_that_is_wrong_says_where(browser: Client, admin_user: User, sent: Sent, field: str, value: str) -> None:
    response = browser.post(ADD, {"title": "Yangi", "owner": admin_user.pk} | {field: value})

    assert response.status_code == 200
    assert list(response.context["errors"])
    assert field in response.context["adminform"].form.errors
    assert (Task.objects.count(), sent()) == (0, [])


def test_deleting_several_with_the_action_logs_each(
    browser: Client, two_tasks: tuple[Task, Task], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="tasks.signals")

    form = {"action": "delete_selected", "_selected_action": [task.pk for task in two_tasks], "post": "yes"}
    assert browser.post(LIST, form).status_code == 302

    lines = {record.getMessage() for record in caplog.records if record.name == "tasks.signals"}
    bread, book = two_tasks
    assert not Task.objects.exists()
    assert lines == {
        f"Vazifa o'chirildi: Non olish (ID: {bread.pk}, Owner: user1)",
        f"Vazifa o'chirildi: Kitob (ID: {book.pk}, Owner: user2)",
    }


def test_the_admin_is_for_staff_only(client: Client, user1: User) -> None:
    client.force_login(user1)

    assert client.get(LIST).status_code == 302
    assert Task in admin.site._registry


def test_a_search_for_a_book_of_words_finds_nothing_and_breaks_nothing(browser: Client) -> None:
    page = browser.get(reverse("admin:tasks_task_changelist"), {"q": "so'z " * 2_000})

    assert page.status_code == 200
