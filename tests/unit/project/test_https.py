"""Where https is demanded, plain http is redirected only if no credentials and no body were sent over it."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.translation import get_language
from pytest_django import Settings
from rest_framework.test import APIClient

from tasks.models import Task
from tests.tokens import bearer

pytestmark = pytest.mark.django_db

DOORS = ["/api/token/", "/api/token/refresh/", "/api/token/verify/", "/admin/login/", "/api-auth/login/"]
PAGES = ["/", "/tasks/", "/admin/login/", "/api/docs/", "/static/admin/css/base.css", "/no/such/address/"]


@pytest.fixture(autouse=True)
def https_is_demanded(settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True


@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize("path", PAGES)
def test_a_request_without_credentials_is_redirected(path: str, method: str) -> None:
    answer = getattr(Client(), method)(path, {"page": "2"})
    assert (answer.status_code, answer["Location"]) == (301, f"https://testserver{path}?page=2")


def assert_refused(answer: object) -> None:
    assert answer.status_code == 403  # type: ignore[attr-defined]
    assert answer.json()["code"] == "https_required"  # type: ignore[attr-defined]
    assert answer.json()["detail"].startswith("Use https")  # type: ignore[attr-defined]
    assert not answer.has_header("Location")  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("credentials", ["Bearer x.y.z", "Basic dXNlcjE6cGFzczEyMw==", ""])
def test_a_request_with_credentials_is_refused(path: str, credentials: str) -> None:
    assert_refused(Client().get(path, headers={"authorization": credentials}))


@pytest.mark.parametrize("path", DOORS)
def test_a_login_is_refused(path: str) -> None:
    assert_refused(Client().post(path, {"username": "user1", "password": "pass123"}))


def test_a_session_is_refused(user1: User) -> None:
    browser = Client()
    browser.force_login(user1)
    assert_refused(browser.get("/admin/"))


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
def test_what_is_no_read_is_refused(method: str) -> None:
    assert_refused(getattr(Client(), method)("/tasks/"))


def test_a_refused_write_changes_nothing_and_over_https_it_works(user1: User) -> None:
    client = APIClient(headers={"authorization": bearer(user1)})
    assert_refused(client.post("/tasks/", {"title": "Bir"}))
    assert not Task.objects.exists()
    assert client.post("/tasks/", {"title": "Bir"}, secure=True).status_code == 201


@pytest.mark.parametrize("language", ["uz", "ru", "en"])
def test_the_refusal_is_in_the_clients_language(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("project.https._", lambda text: get_language())
    answer = Client().post("/api/token/", headers={"accept-language": language})
    assert answer.json()["detail"] == language


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_bad_host_is_neither_redirected_to_nor_told_more(method: str) -> None:
    answer = getattr(Client(), method)("/tasks/", headers={"host": "evil.example"})
    assert (answer.status_code, answer.has_header("Location")) == (400, False)


def test_a_health_probe_is_answered_whatever_it_carries() -> None:
    assert Client().get("/health/live/", headers={"authorization": "Bearer x"}).status_code == 200


def test_where_https_is_not_demanded_all_is_answered(settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = False
    assert Client().get("/tasks/", headers={"authorization": "Bearer x"}).status_code == 401
