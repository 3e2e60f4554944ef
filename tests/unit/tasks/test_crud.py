"""Tasks over REST: every signed-in user reads them, only the owner of one changes it."""

import re
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from tasks.models import Task
from tests.unit.schema_client import SchemaCheckingClient

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("database")]

FIELDS = ["id", "title", "description", "completed", "owner", "owner_id", "version", "created_at", "updated_at"]
LONG_AGO = "2001-01-01T00:00:00Z"

WRITES = [
    pytest.param("put", {"title": "Boshqa"}, id="PUT"),
    pytest.param("patch", {"completed": True}, id="PATCH"),
    pytest.param("delete", None, id="DELETE"),
]
REQUESTS = [
    pytest.param("get", "/tasks/", id="list"),
    pytest.param("post", "/tasks/", id="create"),
    pytest.param("get", "/tasks/{id}/", id="read"),
    pytest.param("put", "/tasks/{id}/", id="replace"),
    pytest.param("patch", "/tasks/{id}/", id="change"),
    pytest.param("delete", "/tasks/{id}/", id="delete"),
]


def test_a_task_is_created_with_a_title_alone(owner: APIClient, user1: User) -> None:
    response = owner.post("/tasks/", {"title": "Yangi vazifa"}, format="json")

    task = Task.objects.get()
    assert response.status_code == 201
    assert list(response.json()) == FIELDS
    assert response.json() | {"created_at": None, "updated_at": None} == {
        "id": task.pk,
        "title": "Yangi vazifa",
        "description": "",
        "completed": False,
        "owner": "user1",
        "owner_id": user1.pk,
        "version": 1,
        "created_at": None,
        "updated_at": None,
    }


def test_a_task_is_created_with_all_that_may_be_said(owner: APIClient) -> None:
    said = {"title": "Oʻzbekcha, русский, 😀", "description": "  Birinchi\n\nIkkinchi", "completed": True}

    answer = owner.post("/tasks/", said, format="json").json()

    assert {name: answer[name] for name in said} == said | {"description": "Birinchi\n\nIkkinchi"}


def test_spaces_around_a_title_are_taken_off(owner: APIClient) -> None:
    assert owner.post("/tasks/", {"title": "  Yangi \n"}, format="json").json()["title"] == "Yangi"


def test_a_title_may_have_200_characters(owner: APIClient) -> None:
    assert owner.post("/tasks/", {"title": "ў" * 200}, format="json").status_code == 201


def test_a_created_task_reads_back_as_it_was_answered(owner: APIClient) -> None:
    answer = owner.post("/tasks/", {"title": "Yangi vazifa"}, format="json").json()

    assert owner.get(f"/tasks/{answer['id']}/").json() == answer


@pytest.mark.parametrize("method", ["post", "put", "patch"])
def test_what_is_not_a_clients_to_say_is_ignored(
    owner: APIClient, user1: User, user2: User, task: Task, method: str
) -> None:
    said = {
        "id": 12345,
        "owner": "user2",
        "owner_id": user2.pk,
        "version": 99,
        "created_at": LONG_AGO,
        "updated_at": LONG_AGO,
    }
    address = "/tasks/" if method == "post" else f"/tasks/{task.pk}/"

    answer = getattr(owner, method)(address, said | {"title": "Meniki"}, format="json").json()

    assert list(answer) == FIELDS
    assert (answer["title"], answer["owner"], answer["owner_id"]) == ("Meniki", "user1", user1.pk)
    assert answer["id"] != 12345
    assert answer["version"] == (1 if method == "post" else 2)
    assert not answer["created_at"].startswith("2001")
    assert not answer["updated_at"].startswith("2001")


def test_put_replaces_title_and_keeps_what_it_does_not_name(owner: APIClient, task: Task) -> None:
    Task.objects.filter(pk=task.pk).update(completed=True)

    answer = owner.put(f"/tasks/{task.pk}/", {"title": "Boshqa"}, format="json")

    assert answer.status_code == 200
    kept = {name: answer.json()[name] for name in ("title", "description", "completed")}
    assert kept == {"title": "Boshqa", "description": "Test vazifa", "completed": True}


def test_a_task_that_was_read_is_changed_and_sent_back(owner: APIClient, task: Task) -> None:
    read = owner.get(f"/tasks/{task.pk}/").json()

    answer = owner.put(f"/tasks/{task.pk}/", read | {"completed": True}, format="json")

    assert answer.status_code == 200
    assert answer.json() | {"updated_at": None} == read | {"completed": True, "version": 2, "updated_at": None}


def test_put_needs_a_title(owner: APIClient, task: Task) -> None:
    answer = owner.put(f"/tasks/{task.pk}/", {"completed": True}, format="json")

    assert (answer.status_code, answer.json()) == (400, {"title": ["This field is required."]})


def test_patch_changes_what_it_names(owner: APIClient, task: Task) -> None:
    answer = owner.patch(f"/tasks/{task.pk}/", {"completed": True}, format="json")

    assert answer.status_code == 200
    assert (answer.json()["title"], answer.json()["completed"]) == ("Yangi vazifa", True)
    task.refresh_from_db()
    assert task.completed


def test_a_change_moves_updated_at_and_not_created_at(owner: APIClient, task: Task) -> None:
    before = owner.get(f"/tasks/{task.pk}/").json()

    after = owner.patch(f"/tasks/{task.pk}/", {"completed": True}, format="json").json()

    assert after["created_at"] == before["created_at"]
    assert datetime.fromisoformat(after["updated_at"]) > datetime.fromisoformat(before["updated_at"])


def test_a_change_is_the_next_version(owner: APIClient, task: Task) -> None:
    assert owner.patch(f"/tasks/{task.pk}/", {"completed": True}, format="json").json()["version"] == 2
    assert owner.put(f"/tasks/{task.pk}/", {"title": "Boshqa"}, format="json").json()["version"] == 3


@pytest.mark.parametrize(("method", "body"), [("put", {"title": "Yangi vazifa"}), ("patch", {})])
def test_a_change_that_changes_nothing_is_no_version(
    owner: APIClient, task: Task, method: str, body: dict[str, object]
) -> None:
    before = owner.get(f"/tasks/{task.pk}/").json()

    answer = getattr(owner, method)(f"/tasks/{task.pk}/", body, format="json")

    assert (answer.status_code, answer.json()) == (200, before)
    assert owner.get(f"/tasks/{task.pk}/").json() == before


def test_a_deleted_task_is_gone(owner: APIClient, task: Task) -> None:
    answer = owner.delete(f"/tasks/{task.pk}/")

    assert (answer.status_code, answer.content) == (204, b"")
    assert owner.get(f"/tasks/{task.pk}/").status_code == 404
    assert owner.delete(f"/tasks/{task.pk}/").status_code == 404


def test_times_are_those_of_tashkent(owner: APIClient, task: Task) -> None:
    answer = owner.get(f"/tasks/{task.pk}/").json()

    for name in ("created_at", "updated_at"):
        time = datetime.fromisoformat(answer[name])
        assert answer[name].endswith("+05:00")
        assert time == getattr(task, name)
        assert time.utcoffset() == timedelta(hours=5)


def test_another_user_reads_a_task(other: APIClient, task: Task) -> None:
    assert other.get(f"/tasks/{task.pk}/").json()["owner"] == "user1"
    assert [found["id"] for found in other.get("/tasks/").json()["results"]] == [task.pk]


@pytest.mark.parametrize(("method", "body"), WRITES)
def test_another_user_may_not_write_a_task(
    other: APIClient, task: Task, method: str, body: dict[str, object] | None
) -> None:
    answer = getattr(other, method)(f"/tasks/{task.pk}/", body, format="json")

    assert answer.status_code == 403
    assert answer.json() == {"detail": "You do not have permission to perform this action."}
    assert Task.objects.filter(pk=task.pk, title="Yangi vazifa", completed=False).exists()


@pytest.mark.parametrize("method", ["put", "patch"])
def test_a_bad_body_for_another_users_task_is_still_refused_as_such(other: APIClient, task: Task, method: str) -> None:
    assert getattr(other, method)(f"/tasks/{task.pk}/", {"title": ""}, format="json").status_code == 403


def test_a_superuser_is_no_owner(admin_user: User, task: Task) -> None:
    client = SchemaCheckingClient()
    client.force_authenticate(admin_user)

    assert client.delete(f"/tasks/{task.pk}/").status_code == 403


@pytest.mark.parametrize(("method", "address"), REQUESTS)
def test_an_unsigned_client_is_refused(visitor: APIClient, task: Task, method: str, address: str) -> None:
    answer = getattr(visitor, method)(address.format(id=task.pk))

    assert answer.status_code == 401
    assert answer.json() == {"detail": "Authentication credentials were not provided."}
    assert answer["WWW-Authenticate"] == 'Bearer realm="api"'


def test_whether_a_task_exists_is_not_shown_to_the_unsigned(visitor: APIClient) -> None:
    assert visitor.get("/tasks/999999/").status_code == 401


def test_a_browsers_session_needs_its_csrf_token_to_write(user1: User) -> None:
    browser = SchemaCheckingClient(enforce_csrf_checks=True)
    browser.force_login(user1)

    answer = browser.post("/tasks/", {"title": "Yangi vazifa"}, format="json")

    assert answer.status_code == 403
    assert "CSRF" in answer.json()["detail"]
    assert not Task.objects.exists()


@pytest.mark.parametrize(("address", "method"), [("/tasks/", "POST"), ("/tasks/{id}/", "PUT")])
def test_a_browser_sees_a_page_with_a_form_for_json_alone(
    owner: APIClient, task: Task, address: str, method: str
) -> None:
    answer = owner.get(address.format(id=task.pk), HTTP_ACCEPT="text/html")

    assert answer["Content-Type"] == "text/html; charset=utf-8"
    page = answer.content.decode()
    [kinds] = re.findall(r'<select name="_content_type".*?</select>', page, re.DOTALL)
    assert re.findall(r"<option [^>]*>(.*)</option>", kinds) == ["application/json"]
    assert f'method="{method}" class="form-horizontal"' in page
    assert 'name="title"' not in page
