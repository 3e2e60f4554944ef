"""Many tasks in one request: all of them or none, an event for each, and no more queries for more tasks."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from actors.activity import SUBJECT
from actors.outbox.models import OutboxMessage
from tasks.bulk import MAX_TASKS
from tasks.models import IdempotencyKey, Task
from tests.conftest import PASSWORD

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

BULK = "/tasks/bulk/"
REQUIRED = ["This field is required."]
UNKNOWN = ["There is no such field."]
Sent = Callable[[], list[tuple[Any, ...]]]


def bodies(count: int) -> list[dict[str, object]]:
    return [{"title": f"Vazifa {number}", "completed": number % 3 == 0} for number in range(count)]


def create(client: APIClient, body: Any, **headers: str) -> Any:
    return client.post(BULK, body, format="json", headers=headers)


@pytest.mark.parametrize("count", [1, 2, MAX_TASKS])
def test_tasks_are_created_in_the_order_of_the_request(client1: APIClient, user1: User, count: int) -> None:
    answer = create(client1, bodies(count))

    assert answer.status_code == 201
    tasks = answer.json()
    assert [{name: task[name] for name in ("title", "completed")} for task in tasks] == bodies(count)
    assert {(task["version"], task["owner"], task["owner_id"]) for task in tasks} == {(1, "user1", user1.pk)}
    assert [task["id"] for task in tasks] == list(Task.objects.order_by("pk").values_list("pk", flat=True))


def test_each_created_task_is_sent_once(client1: APIClient, sent: Sent) -> None:
    tasks = create(client1, bodies(MAX_TASKS)).json()

    assert sent() == [(task["id"], task["title"], "user1") for task in tasks]
    messages = OutboxMessage.objects.order_by("pk").values_list("actor", "subject", "sequence", "changed_by")
    assert list(messages) == [("log_task_creation", f"{SUBJECT}{task['id']}", 1, "user1") for task in tasks]


def test_created_tasks_read_back_as_they_were_answered(client1: APIClient) -> None:
    text = "Oʻzbekcha, русский, 😀"
    said = [{"title": f"  {text} "}, {"title": "b", "description": f'"{text}"\n', "completed": True}]

    tasks = create(client1, said).json()

    assert [task["title"] for task in tasks] == [text, "b"]
    assert [client1.get(f"/tasks/{task['id']}/").json() for task in tasks] == tasks


def test_what_is_not_a_clients_to_say_is_ignored(client1: APIClient, user2: User) -> None:
    said = {"title": "Meniki", "id": 12345, "owner": "user2", "owner_id": user2.pk, "version": 99}

    [task] = create(client1, [said]).json()

    assert (task["owner"], task["version"]) == ("user1", 1)
    assert task["id"] != 12345


@pytest.mark.parametrize("count", [0, MAX_TASKS + 1, 2 * MAX_TASKS])
def test_too_few_and_too_many_are_refused(client1: APIClient, count: int) -> None:
    answer = create(client1, bodies(count))

    assert answer.status_code == 400
    assert answer.json() == {"detail": f"Send 1 to 500 tasks at a time, not {count}."}
    assert not Task.objects.exists()


@pytest.mark.parametrize("body", [{"title": "a"}, {}, {"0": {"title": "a"}}, "title", 5, True, None])
def test_what_is_no_list_is_refused(client1: APIClient, body: Any) -> None:
    answer = create(client1, body)

    assert (answer.status_code, answer.json()) == (400, {"detail": "Send a list of tasks."})
    assert not Task.objects.exists()


def test_what_is_wrong_is_said_by_its_place_in_the_list_and_nothing_is_created(client1: APIClient, sent: Sent) -> None:
    said: list[Any] = [
        *bodies(3),
        {"title": ""},
        {"title": "a" * 201, "completed": "perhaps", "due": 1},
        {},
        {"title": "a", "completedd": True},
        bodies(1)[0],
    ]

    answer = create(client1, said)

    assert answer.status_code == 400
    assert answer.json() == {
        "3": {"title": ["This field may not be blank."]},
        "4": {
            "title": ["Ensure this field has no more than 200 characters."],
            "completed": ["Must be a valid boolean."],
            "due": UNKNOWN,
        },
        "5": {"title": REQUIRED},
        "6": {"completedd": UNKNOWN},
    }
    assert not Task.objects.exists()
    assert sent() == []


@pytest.mark.parametrize("item", ["a", 5, True, [], [{"title": "a"}], None])
def test_what_is_no_task_is_said_by_its_place(client1: APIClient, item: Any) -> None:
    answer = create(client1, [{"title": "a"}, item])

    assert answer.status_code == 400
    assert list(answer.json()) == ["1"]
    assert not Task.objects.exists()


def test_one_wrong_task_among_the_most_undoes_all(client1: APIClient) -> None:
    assert list(create(client1, [*bodies(MAX_TASKS - 1), {}]).json()) == [str(MAX_TASKS - 1)]
    assert not Task.objects.exists()


def test_a_message_that_cannot_be_written_undoes_all(client1: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.signals.log_task_creation.message_with_options", lambda **options: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        create(client1, bodies(3))
    assert not Task.objects.exists()


def test_more_tasks_cost_no_more_queries(client1: APIClient, database: str) -> None:
    def queries(count: int) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert create(client1, bodies(count)).status_code == 201
        return len(captured)

    few, many = queries(10), queries(200)

    assert few <= 4  # begin and commit; tasks, and all of their messages
    # SQLite takes 999 parameters a query.
    assert many == few if database == "postgresql" else many <= few + 1


def test_the_same_key_creates_once(client1: APIClient) -> None:
    first, again = (create(client1, bodies(20), **{"Idempotency-Key": "bir"}) for _ in range(2))

    assert (again.status_code, again.content) == (201, first.content)
    assert again["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first
    assert (Task.objects.count(), OutboxMessage.objects.count()) == (20, 20)


def test_the_same_key_with_other_tasks_or_in_another_order_is_refused(client1: APIClient) -> None:
    create(client1, bodies(2), **{"Idempotency-Key": "bir"})

    for body in (bodies(3), bodies(1), bodies(2)[::-1]):
        assert create(client1, body, **{"Idempotency-Key": "bir"}).status_code == 422
    assert Task.objects.count() == 2


def test_refused_tasks_may_be_mended_under_the_same_key(client1: APIClient) -> None:
    assert create(client1, [{}], **{"Idempotency-Key": "bir"}).status_code == 400
    assert not IdempotencyKey.objects.exists()
    assert create(client1, bodies(1), **{"Idempotency-Key": "bir"}).status_code == 201


def test_an_unsigned_client_is_refused(user1: User) -> None:
    assert create(APIClient(), bodies(1)).status_code == 401
    assert not Task.objects.exists()


def test_a_browsers_session_creates_too(user1: User) -> None:
    browser = APIClient()
    assert browser.login(username="user1", password=PASSWORD)

    assert [task["owner"] for task in create(browser, bodies(2)).json()] == ["user1"] * 2


def test_a_browser_gets_a_page(client1: APIClient) -> None:
    answer = create(client1, bodies(2), Accept="text/html")

    assert (answer.status_code, answer["Content-Type"]) == (201, "text/html; charset=utf-8")


@pytest.mark.parametrize("method", ["get", "put"])
def test_there_is_nothing_to_read_or_replace(client1: APIClient, method: str) -> None:
    assert getattr(client1, method)(BULK).status_code == 405
