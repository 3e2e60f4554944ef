"""What a request may cost the database: more is a 503, and nothing else in the process is limited."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test import Client
from psycopg import Connection
from rest_framework.test import APIClient

from actors.api import stream
from actors.rest import time_limit
from tasks import export
from tasks.listing.compiled import read_in_pieces
from tasks.models import Task
from tasks.views import TaskViewSet

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:No directory at:UserWarning"),
]

SECONDS = 0.2
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT count(*) FROM n"
LONG = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500000) SELECT count(*) FROM n"


@pytest.fixture(autouse=True)
def limit(settings: Any, database: str, transactional_db: None) -> Iterator[None]:
    settings.REQUEST_STATEMENT_SECONDS = SECONDS
    yield
    time_limit.end()
    connection.close()  # of the thread of the tests, which does other work as well


def execute(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


def never_end(*_arguments: Any) -> Any:
    execute(ENDLESS)


def session() -> int:
    return id(connection.connection)


@pytest.mark.parametrize(
    "address", ["/tasks/?search=bozor", "/tasks/1/", "/tasks/export/?search=bozor", "/tasks/?format=api"]
)
def test_a_request_that_asks_too_much_is_stopped_and_told_so(
    client1: APIClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, address: str
) -> None:
    assert client1.get("/tasks/").status_code == 200
    before = session()
    with monkeypatch.context() as patch:
        patch.setattr(TaskViewSet, "get_queryset", never_end)
        response = client1.get(address)

    assert (response.status_code, response["Retry-After"]) == (503, "30")
    assert response.json() == {
        "detail": "This request took the database longer than 0.2 seconds and was stopped. Ask for less, such as a "
        "search for rarer words, or try again later.",
        "code": "query_timeout",
    }
    assert [
        (record.levelname, record.getMessage()) for record in caplog.records if record.name.startswith("project")
    ] == [("WARNING", f"stopped after 0.2 s in the database: GET {address}")]
    assert client1.get("/tasks/").status_code == 200
    assert session() == before, "the connection is kept"


def test_so_is_a_page_of_the_admin(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tasks.admin.TaskAdmin.get_queryset", never_end)
    response = admin_client.get("/admin/tasks/task/?q=a")

    assert (response.status_code, response["Retry-After"]) == (503, "30")
    assert response.json()["code"] == "query_timeout"
    assert "GET /admin/tasks/task/?q=a" in caplog.text


def test_an_export_may_take_six_times_as_long(client1: APIClient, user1: User, monkeypatch: pytest.MonkeyPatch) -> None:
    Task.objects.create(title="Bir", owner=user1)
    read, limits = read_in_pieces, list[float]()

    def note(*arguments: Any) -> Any:
        limits.append(time_limit.current())
        return read(*arguments)

    monkeypatch.setattr(export, "read_in_pieces", note)
    assert b"".join(client1.get("/tasks/export/")).count(b"Bir") == 1
    assert limits == [pytest.approx(6 * SECONDS)]
    assert time_limit.current() == 0


def test_a_stream_is_without_limit(client1: APIClient) -> None:
    time_limit.begin(SECONDS)
    client = stream.Client(stream.Tail(), position=stream.BEGINNING, wanted=lambda _event: True)
    try:
        next(client)
        assert time_limit.current() == 0
        assert execute(LONG) == 500_000
    finally:
        client.close()


def test_outside_of_requests_nothing_is_limited(client1: APIClient) -> None:
    assert client1.get("/tasks/").status_code == 200
    found: list[Any] = []

    def work() -> None:
        try:
            found.append(execute("SHOW statement_timeout") if connection.vendor == "postgresql" else execute(LONG))
        finally:
            connection.close()

    time_limit.begin(0.001)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert found == ["0" if connection.vendor == "postgresql" else 500_000]


def test_a_session_is_told_once_not_at_each_request(client1: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    execute_raw: Callable[..., Any] = Connection.execute

    def note(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        told.append(query)
        return execute_raw(self, query, *arguments, **options)

    monkeypatch.setattr(Connection, "execute", note)
    connection.close()
    for _ in range(3):
        assert client1.get("/tasks/").status_code == 200
    in_memory = connection.vendor == "sqlite"
    assert told == ([] if in_memory else ["SET statement_timeout = 200"])

    connection.close()
    assert client1.get("/tasks/").status_code == 200
    assert told == ([] if in_memory else ["SET statement_timeout = 200"] * 2)


def test_without_a_limit_nothing_is_set(client1: APIClient, settings: Any) -> None:
    settings.REQUEST_STATEMENT_SECONDS = 0
    connection.close()
    assert client1.get("/tasks/").status_code == 200
    assert execute(LONG) == 500_000
    assert connection.vendor == "sqlite" or execute("SHOW statement_timeout") == "0"


def test_a_statement_that_ends_in_time_is_no_concern(client1: APIClient) -> None:
    time_limit.begin(60)
    assert execute(LONG) == 500_000
    time_limit.begin(0.01)
    with pytest.raises(OperationalError) as raised:
        execute(ENDLESS)
    assert time_limit.is_exceeded(raised.value)
    assert not time_limit.is_exceeded(OperationalError("another"))
