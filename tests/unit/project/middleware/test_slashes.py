"""Unknown addresses: JSON for programs, in development too, and no write is redirected."""

from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

NOT_FOUND = {"detail": "Not found."}
WITH_SLASH = {"detail": "Not found. The address ends with a slash: /tasks/."}
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
WRITES = ["POST", "PUT", "PATCH", "DELETE"]


@pytest.fixture(params=[True, False], ids=["development", "production"])
def debug(request: pytest.FixtureRequest, settings: Settings) -> None:
    settings.DEBUG = request.param


@pytest.mark.usefixtures("debug")
@pytest.mark.parametrize("headers", [{}, {"Accept": "*/*"}, {"Accept": "application/json"}])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_program_that_asks_for_nothing_there_is_answers_json(method: str, headers: dict[str, str]) -> None:
    response = Client().generic(method, "/nowhere/", headers=headers)

    assert (response.status_code, response.json()) == (404, NOT_FOUND)
    assert response["Content-Length"] == str(len(response.content))


@pytest.mark.usefixtures("debug")
@pytest.mark.parametrize("method", WRITES)
def test_a_write_without_the_slash_is_answered_with_the_right_address(method: str) -> None:
    response = Client().generic(method, "/tasks", b"{}", "application/json")

    assert (response.status_code, response.json()) == (404, WITH_SLASH)


@pytest.mark.usefixtures("debug")
def test_the_address_of_a_single_task_is_answered_as_well() -> None:
    assert "/tasks/1/." in Client().delete("/tasks/1").json()["detail"]


@pytest.mark.usefixtures("debug")
@pytest.mark.parametrize("method", WRITES)
def test_a_write_to_an_unknown_address_is_answered_with_none(method: str) -> None:
    response = Client().generic(method, "/nowhere", b"{}", "application/json")

    assert (response.status_code, response.json()) == (404, NOT_FOUND)


@pytest.mark.usefixtures("debug")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", [{}, BROWSER])
def test_a_read_without_the_slash_is_redirected_to_it(method: str, headers: dict[str, str]) -> None:
    response = Client().generic(method, "/tasks?page=2", headers=headers)

    assert (response.status_code, response["Location"]) == (301, "/tasks/?page=2")


def test_a_browser_in_development_gets_djangos_page(settings: Settings) -> None:
    settings.DEBUG = True
    response = Client().get("/nowhere/", headers=BROWSER)

    assert response.status_code == 404
    assert "URLconf" in response.content.decode()


@pytest.mark.django_db
def test_what_a_view_does_not_find_is_its_own_to_say(client1: Any, settings: Settings) -> None:
    settings.DEBUG = True
    response = client1.get("/tasks/?page=99")

    assert (response.status_code, response.json()) == (404, {"detail": "Invalid page."})
