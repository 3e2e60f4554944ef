"""The root, `/`, links to everything else, for people and for programs."""

import re

import pytest
from django.test import Client
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from tests.unit.schema_client import SchemaCheckingClient

# WhiteNoise has nothing to serve until `collectstatic` has run.
pytestmark = pytest.mark.filterwarnings("ignore:No directory at:UserWarning")

HTML = "text/html,application/xhtml+xml,*/*;q=0.8"
PLACES = {
    "tasks": "/tasks/",
    "activity": "/activity/",
    "token": "/api/token/",
    "docs": "/api/docs/",
    "schema": "/api/schema/",
    "admin": "/admin/",
    "login": "/api-auth/login/",
}


def test_a_program_gets_links_to_everything() -> None:
    response = APIClient().get("/")

    assert response.status_code == 200
    assert response.json() == {name: f"http://testserver{path}" for name, path in PLACES.items()}


def page(client: Client | None = None, address: str = "/", headers: dict[str, str] | None = None) -> str:
    answer = (client or Client()).get(address, headers={"accept": HTML, **(headers or {})})
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/html; charset=utf-8"
    return answer.content.decode()


def test_a_browser_sees_a_page_that_leads_to_everything() -> None:
    links = re.findall(r'href="http://testserver(/[^"?]*)', page())

    assert {*links} == {*PLACES.values()} - {PLACES["token"]}
    assert f"http://testserver{PLACES['token']}" in page()


@pytest.mark.parametrize(
    ("language", "text"), [("uz", "Vazifa yaratish"), ("ru", "Создать задачу"), ("en", "Create a task")]
)
def test_it_is_in_the_browsers_language(language: str, text: str) -> None:
    found = page(headers={"accept-language": language})

    assert f'<html lang="{language}">' in found
    assert text in found
    assert f'lang="{language}" hreflang="{language}" aria-current="true"' in found


def test_a_link_switches_the_language_and_it_stays_so() -> None:
    browser = Client()

    assert '<html lang="ru">' in page(browser, "/?lang=ru", {"accept-language": "uz"})
    assert '<html lang="ru">' in page(browser, headers={"accept-language": "uz"})
    assert '<html lang="uz">' in page(browser, "/?lang=uz")
    assert '<html lang="uz">' in page(browser)


@pytest.mark.parametrize("language", ["", "xx", "../en", "x" * 600, "\0"])
def test_a_language_that_there_is_not_is_none(language: str) -> None:
    answer = Client().get("/", {"lang": language}, headers={"accept": HTML, "accept-language": "uz"})

    assert '<html lang="uz">' in answer.content.decode()
    assert answer.cookies["django_language"].value == "uz"


@pytest.mark.django_db
@pytest.mark.usefixtures("database_away")
@pytest.mark.parametrize(
    "headers", [{}, {"cookie": "sessionid=0123456789abcdef0123456789abcdef"}, {"authorization": "Bearer x"}]
)
def test_it_is_there_without_the_database(headers: dict[str, str]) -> None:
    assert "All is well" in page(headers=headers)  # which the script shows if it is


def test_its_examples_have_an_account_in_development_alone(settings: Settings) -> None:
    settings.DEBUG = False
    assert "pass123" not in page()
    assert "your password" in page()
    settings.DEBUG = True
    assert "pass123" in page()


def test_it_leads_to_rabbitmq_where_a_setting_says_where_that_is(settings: Settings) -> None:
    assert "RabbitMQ</a>" not in page()
    settings.RABBITMQ_MANAGEMENT_URL = "http://127.0.0.1:15672/"
    assert '<a href="http://127.0.0.1:15672/">RabbitMQ</a>' in page()


def test_its_headings_leave_out_no_level() -> None:
    assert re.findall(r"<h([1-6])", page()) == ["1", "2", "3", "3", "3", "2"]


def test_what_it_does_not_do_is_an_error_as_on_other_pages() -> None:
    answer = Client().post("/", headers={"accept": HTML})

    assert answer.status_code == 405
    assert "Allow" in answer.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "path"), PLACES.items())
def test_every_place_is_there(name: str, path: str) -> None:
    expected = {"tasks": 401, "activity": 401, "token": 405, "admin": 302}.get(name, 200)

    assert Client().get(path, headers={"accept": "*/*"}).status_code == expected


def test_the_front_door_is_only_looked_at() -> None:
    response = SchemaCheckingClient().post("/", {}, format="json")

    assert (response.status_code, response.json()) == (405, {"detail": 'Method "POST" not allowed.'})


@pytest.mark.django_db
def test_people_log_in_to_the_browsable_api() -> None:
    page = Client().get("/api-auth/login/").content.decode()

    assert 'name="username"' in page
    assert 'name="password"' in page
