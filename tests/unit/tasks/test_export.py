"""Tasks as a file: the list as it is filtered and ordered, whole, and never whole in memory."""

import csv
import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import StreamingHttpResponse

from tasks import export
from tasks.models import Task
from tests.unit.documented import DocumentedClient

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

EXPORT = "/tasks/export/"


@pytest.fixture
def tasks(user1: User, user2: User) -> list[Task]:
    texts = ["Oʻzbekcha, русский 😀", 'a "b", c\nd', "=1+1", "+x", "-x", "@x", "oddiy"]
    return [
        Task.objects.create(title=text, description=text, completed=n % 2 == 0, owner=(user1, user2)[n % 2])
        for n, text in enumerate(texts)
    ]


def whole(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def lines(response: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in whole(response).decode().split("\n") if line]


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize(
    "query", [{}, {"completed": "true"}, {"search": "x"}, {"ordering": "-created_at"}, {"owner_username": "user2"}]
)
def test_json_lines_are_the_list_as_it_is_shown(owner: DocumentedClient, query: dict[str, str]) -> None:
    response = owner.get(EXPORT, {**query, "format": "jsonl"})
    assert response["Content-Type"] == "application/x-ndjson; charset=utf-8"
    assert response["Content-Disposition"].startswith('attachment; filename="tasks-')
    assert response["Content-Disposition"].endswith('.jsonl"')
    assert lines(response) == owner.get("/tasks/", {**query, "page_size": "100"}).json()["results"]


def test_csv_reads_back_and_holds_no_formula(owner: DocumentedClient, tasks: list[Task]) -> None:
    response = owner.get(EXPORT, {"format": "csv"})
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    text = whole(response).decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["title"].removeprefix("'") for row in rows] == [task.title for task in tasks]
    assert [row["title"][0] for row in rows if row["title"].removeprefix("'")[0] in "=+-@"] == ["'"] * 4
    assert list(rows[0]) == list(owner.get(f"/tasks/{tasks[0].pk}/").json())


def test_an_export_of_nothing_is_an_empty_file(owner: DocumentedClient) -> None:
    assert lines(owner.get(EXPORT, {"format": "jsonl"})) == []
    assert whole(owner.get(EXPORT, {"format": "csv"})).startswith(b"id,title,")


def test_without_a_format_it_is_json_lines_and_accept_chooses_too(owner: DocumentedClient) -> None:
    assert owner.get(EXPORT)["Content-Type"].startswith("application/x-ndjson")
    assert owner.get(EXPORT, HTTP_ACCEPT="text/csv")["Content-Type"].startswith("text/csv")
    assert owner.get(EXPORT, HTTP_ACCEPT="image/png").status_code == 406


@pytest.mark.parametrize(
    ("query", "status"), [({"format": "xml"}, 404), ({"completed": "x"}, 400), ({"ordering": "color"}, 400)]
)
def test_errors_are_json(owner: DocumentedClient, query: dict[str, str], status: int) -> None:
    response = owner.get(EXPORT, query)
    assert (response.status_code, response["Content-Type"]) == (status, "application/json")


def test_who_is_not_signed_in_is_refused_in_json(visitor: DocumentedClient) -> None:
    response = visitor.get(EXPORT, {"format": "csv"})
    assert (response.status_code, response["Content-Type"]) == (401, "application/json")


def test_tasks_are_read_as_they_are_sent(owner: DocumentedClient, user1: User, monkeypatch: pytest.MonkeyPatch) -> None:
    Task.objects.bulk_create(Task(title=str(number), owner=user1) for number in range(100))
    monkeypatch.setattr(export, "CHUNK", 10)
    made: list[int] = []
    from_db = Task.from_db

    def count(*args: Any, **kwargs: Any) -> Task:
        made.append(1)
        return from_db(*args, **kwargs)

    monkeypatch.setattr(Task, "from_db", count)
    response = owner.get(EXPORT)
    assert isinstance(response, StreamingHttpResponse)
    pieces = iter(response.streaming_content)
    assert len(made) <= 10
    for _ in range(15):
        next(pieces)
    assert len(made) <= 20
    response.close()
