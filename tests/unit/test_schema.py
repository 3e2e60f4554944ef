"""The OpenAPI schema and its pages: without a warning, with every error, from nobody's servers but ours."""

import re
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
import yaml
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.utils import translation
from rest_framework.test import APIClient

from tests.unit.documented import openapi

# WhiteNoise has nothing to serve until `collectstatic` has run.
pytestmark = pytest.mark.filterwarnings("ignore:No directory at:UserWarning")

OPERATIONS = [
    ("/api/token/", "post", {200, 401}),
    ("/api/token/refresh/", "post", {200, 401}),
    ("/api/token/verify/", "post", {200, 401}),
    ("/tasks/", "get", {200, 401}),
    ("/tasks/", "post", {201, 401, 403}),
    ("/tasks/{id}/", "get", {200, 401}),
    ("/tasks/{id}/", "put", {200, 401, 403}),
    ("/tasks/{id}/", "patch", {200, 401, 403}),
    ("/tasks/{id}/", "delete", {204, 401, 403}),
]
OF_ALL = {400, 404, 406, 411, 413, 415, 429, 503}


def test_the_schema_is_valid_and_raises_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    with translation.override("en"):
        call_command("spectacular", "--validate", "--fail-on-warn")

    assert yaml.safe_load(capsys.readouterr().out) == yaml.safe_load(APIClient().get("/api/schema/").content)


def test_every_operation_is_in_the_schema() -> None:
    documented = {(path, method) for path, methods in openapi()["paths"].items() for method in methods}

    assert documented == {(path, method) for path, method, _statuses in OPERATIONS}


@pytest.mark.parametrize(("path", "method", "statuses"), OPERATIONS)
def test_an_operation_names_every_status_that_it_can_answer(path: str, method: str, statuses: set[int]) -> None:
    responses = openapi()["paths"][path][method]["responses"]

    assert {int(status) for status in responses} == statuses | OF_ALL
    for status, response in responses.items():
        assert status.startswith("2") or response["description"]


@pytest.mark.parametrize(("path", "method", "_statuses"), OPERATIONS)
@pytest.mark.parametrize("status", ["429", "503"])
def test_where_a_client_is_to_come_again_it_is_told_when(
    path: str, method: str, _statuses: object, status: str
) -> None:
    assert "Retry-After" in openapi()["paths"][path][method]["responses"][status]["headers"]


def test_a_task_is_described_as_it_is_answered() -> None:
    fields = openapi()["components"]["schemas"]["Task"]["properties"]

    assert list(fields) == ["id", "title", "description", "completed", "owner", "owner_id", "created_at", "updated_at"]
    assert fields["title"]["maxLength"] == 200
    assert {name for name, field in fields.items() if field.get("readOnly")} == {
        "id",
        "owner",
        "owner_id",
        "created_at",
        "updated_at",
    }
    assert list(openapi()["components"]["schemas"]["TaskRequest"]["properties"]) == [
        "title",
        "description",
        "completed",
    ]


def test_the_parameters_of_a_list_are_described() -> None:
    parameters = {parameter["name"]: parameter for parameter in openapi()["paths"]["/tasks/"]["get"]["parameters"]}

    assert {name: parameter["schema"]["type"] for name, parameter in parameters.items()} == {
        "completed": "boolean",
        "ordering": "string",
        "owner": "integer",
        "owner_username": "string",
        "page": "integer",
        "page_size": "integer",
        "search": "string",
    }


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "application/vnd.oai.openapi"),
        ("application/json", "application/json"),
        ("application/yaml", "application/yaml"),
    ],
)
def test_the_schema_is_had_without_a_token(accept: str, content_type: str) -> None:
    response = APIClient().get("/api/schema/", HTTP_ACCEPT=accept)

    assert response.status_code == 200
    assert response["Content-Type"].startswith(content_type)
    assert yaml.safe_load(response.content)["info"]["title"] == "Vazifa"


class Assets(HTMLParser):
    """Gathers the addresses that a browser would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "link", "img", "iframe"}:
            self.addresses += [value for name, value in attrs if name in {"src", "href"} and value]


@pytest.mark.parametrize("path", ["/api/docs/", "/", "/api-auth/login/"])
def test_a_page_loads_nothing_from_other_hosts(path: str) -> None:
    page = APIClient().get(path, HTTP_ACCEPT="text/html").content.decode()

    assets = Assets(page).addresses
    assert assets
    for address in assets:
        assert not urlsplit(address).netloc, address
        assert finders.find(address.removeprefix("/static/")), address


def test_the_docs_name_no_other_host_at_all() -> None:
    page = APIClient().get("/api/docs/", HTTP_ACCEPT="text/html").content.decode()

    assert "SwaggerUIBundle(" in page
    assert '"/api/schema/"' in page
    assert set(re.findall(r"https?://([^/\"'\s]+)", page)) <= {"testserver"}
