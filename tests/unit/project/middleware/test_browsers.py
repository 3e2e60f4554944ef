"""Requests with a session, a token or both: a token counts before a session, and a bad one is refused."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from tasks.models import Task
from tests.conftest import PASSWORD
from tests.tokens import bearer

pytestmark = pytest.mark.django_db


@pytest.fixture
def token(user1: User) -> str:
    return bearer(user1)


@pytest.fixture
def browser(user1: User) -> Client:
    """A browser that is signed in, with CSRF checks on."""
    browser = Client(enforce_csrf_checks=True)
    assert browser.login(username="user1", password=PASSWORD)
    return browser


def create(client: Client, **headers: Any) -> Any:
    return client.post("/tasks/", {"title": "Yangi vazifa"}, content_type="application/json", **headers)


def test_a_session_without_csrf_token_creates_nothing(browser: Client) -> None:
    assert create(browser).status_code == 403
    assert not Task.objects.exists()


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer x", "Bearer x y"])
def test_a_session_beside_a_bad_token_creates_nothing(browser: Client, header: str) -> None:
    assert create(browser, HTTP_AUTHORIZATION=header).status_code in {401, 403}
    assert not Task.objects.exists()


def test_a_session_beside_another_scheme_creates_nothing(browser: Client) -> None:
    assert create(browser, HTTP_AUTHORIZATION="Basic dXNlcjE6eA==").status_code == 403
    assert not Task.objects.exists()


def test_a_token_needs_no_csrf_token(token: str) -> None:
    assert create(Client(enforce_csrf_checks=True), HTTP_AUTHORIZATION=token).status_code == 201


def test_a_token_beside_a_session_is_the_tokens(browser: Client, user2: User) -> None:
    answer = create(browser, HTTP_AUTHORIZATION=bearer(user2))

    assert (answer.status_code, answer.json()["owner"]) == (201, "user2")


@pytest.mark.parametrize("address", ["/tasks/", "/activity/", "/"])
def test_a_page_for_a_browser_can_be_had_with_a_token(token: str, address: str) -> None:
    answer = APIClient().get(address, HTTP_AUTHORIZATION=token, HTTP_ACCEPT="text/html")

    assert (answer.status_code, answer["Content-Type"]) == (200, "text/html; charset=utf-8")


def test_the_admin_does_not_mind_a_token(admin_client: Client, token: str) -> None:
    assert admin_client.get("/admin/tasks/task/", HTTP_AUTHORIZATION=token).status_code == 200
