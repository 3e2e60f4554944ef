"""Errors: JSON with a `detail`, no traceback, and a 503 while the database is unavailable."""

import logging
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.http import HttpRequest
from django.test import RequestFactory
from rest_framework.test import APIClient

from project.accounts.tokens.kinds import AccessToken
from project.api import errors
from tasks.views import TaskViewSet
from tests.unit.schema_client import SchemaCheckingClient

AWAY = {"detail": "The database is not available. Try again in a few seconds."}


def bearer() -> str:
    token = AccessToken()
    token["user_id"], token["family"] = "1", uuid4().hex
    return f"Bearer {token}"


REQUESTS: list[Any] = [
    pytest.param(lambda client: client.get("/tasks/", HTTP_AUTHORIZATION=bearer()), id="list"),
    pytest.param(lambda client: client.get("/tasks/1/", HTTP_AUTHORIZATION=bearer()), id="read"),
    pytest.param(lambda client: client.post("/tasks/", {"title": "a"}, HTTP_AUTHORIZATION=bearer()), id="create"),
    pytest.param(lambda client: client.delete("/tasks/1/", HTTP_AUTHORIZATION=bearer()), id="delete"),
    pytest.param(lambda client: client.post("/api/token/", {"username": "a", "password": "b"}), id="token"),
    pytest.param(
        lambda client: client.post("/api/token/verify/", {"token": bearer().removeprefix("Bearer ")}), id="verify"
    ),
]


@pytest.mark.usefixtures("database_away")
@pytest.mark.parametrize("ask", REQUESTS)
def test_without_its_database_the_service_asks_to_come_again(
    ask: Callable[[APIClient], Any], caplog: pytest.LogCaptureFixture
) -> None:
    response = ask(SchemaCheckingClient())

    assert (response.status_code, response.json()) == (503, AWAY)
    assert response["Retry-After"] == "5"
    assert [record.getMessage() for record in caplog.records if record.name == "project.api.errors"] == [
        "database unavailable"
    ]


@pytest.mark.usefixtures("database_away")
def test_a_browser_is_asked_to_come_again_as_well() -> None:
    response = SchemaCheckingClient().get("/tasks/", HTTP_AUTHORIZATION=bearer(), HTTP_ACCEPT="text/html")

    assert (response.status_code, response.json()) == (503, AWAY)
    assert response["Retry-After"] == "5"


@pytest.mark.usefixtures("database_away")
@pytest.mark.parametrize("by", ["token", "session"])
def test_an_event_source_is_told_to_come_back_when_it_cannot_be_authenticated(by: str) -> None:
    client = APIClient()
    if by == "token":
        client.credentials(HTTP_AUTHORIZATION=bearer())
    else:
        client.cookies["sessionid"] = "a" * 32
    response = client.get("/activity/stream/", HTTP_ACCEPT="text/event-stream")

    assert (response.status_code, response["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert response.content.startswith(b"retry: ")
    assert not response.cookies, "the session stays"
    refused = client.get("/activity/stream/", HTTP_ACCEPT="*/*")
    assert (refused.status_code, refused.json(), refused["Retry-After"]) == (503, AWAY, "5")


@pytest.mark.usefixtures("database_away")
def test_what_needs_no_database_is_there_without_it() -> None:
    client = SchemaCheckingClient()

    assert client.get("/").status_code == 200
    assert client.get("/tasks/").status_code == 401


@pytest.mark.django_db
def test_a_query_that_fails_for_want_of_a_database_shows_nothing_of_itself(
    monkeypatch: pytest.MonkeyPatch, client1: APIClient
) -> None:
    def lose_connection(self: TaskViewSet) -> None:
        raise OperationalError("connection to server at 10.0.0.5 failed: password is hunter2")

    monkeypatch.setattr(TaskViewSet, "get_queryset", lose_connection)

    response = client1.get("/tasks/")

    assert (response.status_code, response.json()) == (503, AWAY)
    assert "hunter2" not in response.content.decode()


@pytest.mark.integration
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_write_to_a_server_that_has_become_read_only_is_a_503_and_the_next_goes_to_another(
    database: str, client1: APIClient
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only TO on")  # on this connection, as on all of a standby

    response = client1.post("/tasks/", {"title": "a"})

    assert (response.status_code, response.json()) == (503, AWAY)
    assert client1.post("/tasks/", {"title": "a"}).status_code == 201


@pytest.mark.django_db
def test_an_error_of_our_own_is_a_500_that_shows_nothing_of_itself(
    monkeypatch: pytest.MonkeyPatch, user1: User, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: TaskViewSet) -> None:
        raise ZeroDivisionError("hunter2")

    monkeypatch.setattr(TaskViewSet, "get_queryset", fail)
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(user1)

    response = client.get("/tasks/")

    assert response.status_code == 500
    assert response["Content-Type"] == "application/json"
    assert response.json() == {"detail": "A server error occurred."}
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None


@pytest.mark.parametrize(
    ("answer", "status", "detail"),
    [
        pytest.param(errors.bad_request(HttpRequest(), ValueError()), 400, "Malformed request.", id="400"),
        pytest.param(errors.not_found(RequestFactory().get("/nowhere/"), ValueError()), 404, "Not found.", id="404"),
        pytest.param(errors.server_error(HttpRequest()), 500, "A server error occurred.", id="500"),
    ],
)
def test_what_django_answers_itself_has_the_same_shape(answer: Any, status: int, detail: str) -> None:
    assert (answer.status_code, answer.content.decode()) == (status, f'{{"detail": "{detail}"}}')
