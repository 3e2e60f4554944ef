"""The OpenAPI schema and its pages: no warning, every error described, and no request to another host."""

import re
from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
import yaml
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.utils import translation
from rest_framework.test import APIClient

from tests.unit.schema_client import openapi

# WhiteNoise has nothing to serve until `collectstatic` has run.
pytestmark = pytest.mark.filterwarnings("ignore:No directory at:UserWarning")

OF_ALL = {400, 403, 404, 406, 414, 429, 503}
OF_BODIES = {411, 413, 415}
OF_TOKENS = {200, 401} | OF_BODIES
OF_CHANGE = {401, 412, 428}
OPERATIONS: list[tuple[str, str, set[int]]] = [
    ("/api/token/", "post", OF_TOKENS),
    ("/api/token/refresh/", "post", OF_TOKENS),
    ("/api/token/verify/", "post", OF_TOKENS),
    ("/api/token/logout/", "post", OF_TOKENS),
    ("/api/token/logout-everywhere/", "post", OF_TOKENS),
    ("/tasks/", "get", {200, 401}),
    ("/tasks/", "post", {201, 401, 409, 422} | OF_BODIES),
    ("/tasks/{id}/", "get", {200, 304, 401, 412}),
    ("/tasks/{id}/", "put", {200} | OF_CHANGE | OF_BODIES),
    ("/tasks/{id}/", "patch", {200} | OF_CHANGE | OF_BODIES),
    ("/tasks/{id}/", "delete", {204} | OF_CHANGE),
    ("/tasks/bulk/", "post", {201, 401, 409, 422} | OF_BODIES),
    ("/tasks/bulk/", "patch", {200, 409, 422} | OF_CHANGE | OF_BODIES),
    ("/tasks/bulk/", "delete", {204, 409, 422} | OF_CHANGE | OF_BODIES),
    ("/tasks/export/", "get", {200, 401}),
    ("/tasks/{task_id}/activity/", "get", {200, 401}),
    ("/activity/", "get", {200, 401}),
    ("/activity/stream/", "get", {200, 401}),
]
PROBES = [("/health/live/", "get", {200, 414}), ("/health/ready/", "get", {200, 414, 503})]


def test_the_schema_is_valid_and_raises_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    with translation.override("en"):
        call_command("spectacular", "--validate", "--fail-on-warn")

    assert yaml.safe_load(capsys.readouterr().out) == yaml.safe_load(APIClient().get("/api/schema/").content)


def test_every_operation_is_in_the_schema() -> None:
    documented = {(path, method) for path, methods in openapi()["paths"].items() for method in methods}

    assert documented == {(path, method) for path, method, _statuses in [*OPERATIONS, *PROBES]}


@pytest.mark.parametrize(
    ("path", "method", "statuses"), [*((path, method, own | OF_ALL) for path, method, own in OPERATIONS), *PROBES]
)
def test_an_operation_names_every_status_that_it_can_answer(path: str, method: str, statuses: set[int]) -> None:
    assert {int(status) for status in openapi()["paths"][path][method]["responses"]} == statuses


def test_json_is_all_that_a_body_may_be() -> None:
    bodies = [
        each["requestBody"] for path in openapi()["paths"].values() for each in path.values() if "requestBody" in each
    ]

    assert len(bodies) == 11
    assert {kind for body in bodies for kind in body["content"]} == {"application/json"}


@pytest.mark.parametrize(
    ("method", "status"),
    [("post", "400"), *((method, status) for method in ("patch", "delete") for status in ("400", "403", "404", "412"))],
)
def test_errors_of_many_tasks_are_described_by_the_index_of_each(method: str, status: str) -> None:
    refused = openapi()["paths"]["/tasks/bulk/"][method]["responses"][status]["content"]["application/json"]["schema"]

    assert refused == {"$ref": "#/components/schemas/ErrorsOfMany"}
    assert openapi()["components"]["schemas"]["ErrorsOfMany"]["additionalProperties"]["oneOf"] == [
        {"type": "string"},
        {"type": "array", "items": {"type": "string"}},
        {"$ref": "#/components/schemas/FieldErrors"},
    ]


def test_an_event_is_described_as_it_is_answered() -> None:
    event = openapi()["components"]["schemas"]["Activity"]

    assert list(event["properties"]) == [
        *("id", "event", "task_id", "version", "title", "owner", "owner_id", "changed_by", "changed_by_id"),
        *("changes", "request_id", "message_id", "status", "state"),
        *("occurred_at", "published_at", "logged_at", "attempts"),
    ]


@pytest.mark.parametrize(("path", "of_task"), [("/activity/", set()), ("/tasks/{task_id}/activity/", {"task_id"})])
def test_the_parameters_of_the_activity_are_described(path: str, of_task: set[str]) -> None:
    parameters = {parameter["name"] for parameter in openapi()["paths"][path]["get"]["parameters"]}

    filters = {"event", "changed_by", "since", "until"}
    assert parameters == filters | {"cursor", "page_size"} | (of_task or {"task"})


def test_a_task_is_described_as_it_is_answered() -> None:
    fields = openapi()["components"]["schemas"]["Task"]["properties"]

    assert list(fields) == [
        *("id", "title", "description", "completed", "owner", "owner_id", "version", "created_at", "updated_at")
    ]
    assert fields["title"]["maxLength"] == 200
    assert {name for name, field in fields.items() if field.get("readOnly")} == {
        "id",
        "owner",
        "owner_id",
        "version",
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
        "cursor": "string",
        "ordering": "string",
        "owner": "integer",
        "owner_username": "string",
        "page": "integer",
        "page_size": "integer",
        "pagination": "string",
        "search": "string",
    }
    assert parameters["pagination"]["schema"]["enum"] == ["page", "cursor"]


def test_only_numbered_pages_are_said_to_have_a_count() -> None:
    page = openapi()["components"]["schemas"]["PaginatedTaskList"]

    assert page["required"] == ["next", "previous", "results"]
    assert list(page["properties"]) == ["count", "next", "previous", "results"]


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
    """Collects the addresses that a browser would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "link", "img", "iframe"}:
            self.addresses += [value for name, value in attrs if name in {"src", "href"} and value]


DOCS_SCRIPT = "/api/docs/?script="


@pytest.mark.parametrize("path", ["/api/docs/", "/", "/api-auth/login/"])
def test_a_page_loads_nothing_from_other_hosts(path: str) -> None:
    page = APIClient().get(path, HTTP_ACCEPT="text/html").content.decode()

    assets = Assets(page).addresses
    assert assets
    for address in assets:
        assert not urlsplit(address).netloc, address
        if address.startswith("/static/"):
            assert finders.find(address.removeprefix("/static/")), address
        else:
            assert address == DOCS_SCRIPT


def test_the_docs_name_no_other_host_at_all() -> None:
    page, script = (APIClient().get(address, HTTP_ACCEPT="text/html") for address in ("/api/docs/", DOCS_SCRIPT))

    assert f'<script src="{DOCS_SCRIPT}">' in page.content.decode()
    assert script["Content-Type"].startswith("application/javascript")
    assert "SwaggerUIBundle(" in script.content.decode()
    assert '"/api/schema/"' in script.content.decode()
    text = page.content.decode() + script.content.decode()
    assert set(re.findall(r"https?://([^/\"'\s]+)", text)) <= {"testserver"}
