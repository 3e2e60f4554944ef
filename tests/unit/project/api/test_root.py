"""The root, `/`, links to everything else, for people and for programs."""

import pytest
from django.test import Client
from rest_framework.test import APIClient

from tests.unit.schema_client import SchemaCheckingClient

# WhiteNoise has nothing to serve until `collectstatic` has run.
pytestmark = pytest.mark.filterwarnings("ignore:No directory at:UserWarning")

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


def test_a_browser_sees_a_page_of_links() -> None:
    response = APIClient().get("/", HTTP_ACCEPT="text/html,application/xhtml+xml,*/*;q=0.8")

    page = response.content.decode()
    assert response["Content-Type"] == "text/html; charset=utf-8"
    assert "Vazifa" in page
    for path in PLACES.values():
        assert f'href="http://testserver{path}"' in page


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
