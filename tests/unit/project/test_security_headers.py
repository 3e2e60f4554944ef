"""Every response says how browsers have to treat it, whichever part of the service has made it."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

pytestmark = pytest.mark.django_db

HTML = {"accept": "text/html"}
# Answered by a view, the static files' middleware, a redirect, the error handlers, the limits of requests.
ALL = [
    ("get", "/", {}, 200),
    ("get", "/health/live/", {}, 200),
    ("get", "/admin", {}, 301),
    ("get", "/admin/", {}, 302),
    ("get", "/tasks/", {}, 401),
    ("get", "/tasks/", {"host": "evil.example"}, 400),
    ("get", "/no/such/address/", {}, 404),
    ("get", "/no/such/address/", HTML, 404),
    ("delete", "/api/token/", {}, 405),
    ("post", "/api/token/", {"content-length": "x"}, 400),
]
PAGES = ["/", "/admin/login/", "/api-auth/login/", "/api/docs/"]


def broken(request: object) -> None:
    raise RuntimeError("on purpose")


@pytest.mark.parametrize(("method", "path", "headers", "status"), ALL, ids=str)
@pytest.mark.parametrize("over", ["http", "https"])
def test_every_response_has_them(
    method: str, path: str, headers: dict[str, str], status: int, over: str, settings: Settings
) -> None:
    settings.SECURE_HSTS_SECONDS = 1000
    answer = getattr(Client(), method)(path, headers=headers, secure=over == "https")
    assert answer.status_code == status
    assert_safe(answer, over)


def assert_safe(answer: object, over: str) -> None:
    expected = {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Strict-Transport-Security": "max-age=1000" if over == "https" else None,  # browsers ignore it over http
    }
    assert {name: answer.headers.get(name) for name in expected} == expected  # type: ignore[attr-defined]


def test_an_error_of_the_service_has_them(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SECURE_HSTS_SECONDS = 1000
    monkeypatch.setattr("project.health.JsonResponse", broken)
    answer = Client(raise_request_exception=False).get("/health/live/", secure=True)
    assert answer.status_code == 500
    assert_safe(answer, "https")


@pytest.mark.parametrize(
    ("method", "host", "status"),
    [("get", "testserver", 301), ("post", "testserver", 403), ("get", "evil.example", 400)],
)
def test_what_demands_https_has_them(method: str, host: str, status: int, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    answer = getattr(Client(), method)("/tasks/", headers={"host": host})
    assert answer.status_code == status
    assert_safe(answer, "http")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_scripts_of_the_services_files_alone(path: str) -> None:
    answer = Client().get(path, headers=HTML)
    policy = dict(directive.split(" ", 1) for directive in answer["Content-Security-Policy"].split("; "))
    assert policy["script-src"] == "'self'"
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert "camera=()" in answer["Permissions-Policy"]
    scripts = re.findall(r"<script(?![^>]*application/json)[^>]*>([^<]*)", answer.content.decode())
    assert {text.strip() for text in scripts} <= {""}


def test_a_json_response_is_not_made_larger_by_what_only_pages_need() -> None:
    answer = Client().get("/", headers={"accept": "application/json"})
    assert not answer.has_header("Content-Security-Policy")


def test_djangos_pages_for_developers_are_left_alone_and_no_others(settings: Settings, user1: User) -> None:
    settings.DEBUG = True
    assert not Client().get("/no/such/address/", headers=HTML).has_header("Content-Security-Policy")
    assert Client().get("/admin/login/", headers=HTML).has_header("Content-Security-Policy")


def test_no_page_has_a_style_sheet_or_an_event_handler_in_it(user1: User) -> None:
    browser = Client(headers=HTML)
    browser.force_login(user1)
    for path in ("/", "/tasks/", "/activity/", "/api-auth/login/", "/api/docs/"):
        page = browser.get(path).content.decode()
        assert "<style" not in page, path
        assert not re.search(r"\son\w+=", page), path
