"""Many tasks in one request: all of them or none, each told of, in as many queries as few."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from actors.outbox.models import OutboxMessage
from tasks.models import Task
from tests.unit.documented import DocumentedClient

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

BULK = "/tasks/bulk/"


def many(count: int) -> list[dict[str, Any]]:
    return [{"title": f"Vazifa {number}", "completed": number % 2 == 0} for number in range(count)]


@pytest.mark.parametrize("count", [1, 500])
def test_tasks_are_created_in_order_and_each_is_told_of(owner: DocumentedClient, count: int) -> None:
    answer = owner.post(BULK, many(count), format="json")
    assert answer.status_code == 201
    told = [(task["title"], task["completed"], task["owner"], task["version"]) for task in answer.json()]
    assert told == [(f"Vazifa {n}", n % 2 == 0, "user1", 1) for n in range(count)]
    assert [task["id"] for task in answer.json()] == list(Task.objects.order_by("pk").values_list("pk", flat=True))
    messages = OutboxMessage.objects.order_by("pk").values_list("subject", "sequence", "changed_by")
    assert list(messages) == [(f"task:{task['id']}", 1, "user1") for task in answer.json()]
    assert owner.get(f"/tasks/{answer.json()[-1]['id']}/").json() == answer.json()[-1]


def test_of_many_the_errors_are_told_by_index_and_none_is_created(owner: DocumentedClient) -> None:
    answer = owner.post(BULK, [{"title": "a"}, {"title": ""}, {"titel": "b"}, 5], format="json")
    assert answer.status_code == 400
    assert answer.json() == {
        "1": {"title": ["This field may not be blank."]},
        "2": {"title": ["This field is required."]},
        "3": {"non_field_errors": ["Invalid data. Expected a dictionary, but got int."]},
    }
    assert not Task.objects.exists()
    assert not OutboxMessage.objects.exists()


@pytest.mark.parametrize("body", [[], many(501), {}, {"title": "a"}, "text", None, 5])
def test_what_is_no_list_of_1_to_500_is_refused(owner: DocumentedClient, body: Any) -> None:
    answer = owner.post(BULK, body, format="json")
    assert (answer.status_code, list(answer.json())) == (400, ["detail"])
    assert not Task.objects.exists()


def test_a_form_is_refused(owner: DocumentedClient) -> None:
    assert owner.post(BULK, {"title": "a"}).status_code == 400


def test_who_is_not_signed_in_is_refused(visitor: DocumentedClient) -> None:
    assert visitor.post(BULK, many(1), format="json").status_code == 401


def test_many_cost_as_many_queries_as_few(owner: DocumentedClient, database: str) -> None:
    counts = []
    for count in (10, 400):
        with CaptureQueriesContext(connection) as queries:
            assert owner.post(BULK, many(count), format="json").status_code == 201
        counts.append(len(queries))
    # SQLite takes a limited number of parameters in a statement.
    more = 0 if database == "postgresql" else 3
    assert counts[0] <= 4
    assert counts[1] <= counts[0] + more


def test_a_message_that_cannot_be_written_undoes_all(owner: DocumentedClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(rows: object) -> None:
        raise RuntimeError

    owner.raise_request_exception = True
    monkeypatch.setattr("actors.outbox.statements.insert_many", fail)
    with pytest.raises(RuntimeError):
        owner.post(BULK, many(3), format="json")
    assert not Task.objects.exists()
