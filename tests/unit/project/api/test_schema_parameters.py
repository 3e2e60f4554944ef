"""What the OpenAPI schema says of a parameter is what the service does with it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from rest_framework.test import APIClient

from tasks.conditional import PATTERN
from tasks.models import Task
from tests.unit.schema_client import SchemaCheckingClient, openapi

# Not within a transaction: the end of a stream closes its connection.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

STREAM = "/activity/stream/"


def parameters(place: str) -> Iterator[Any]:
    """All parameters of reading operations: address, name and schema."""
    for path, operations in openapi()["paths"].items():
        for parameter in operations.get("get", {}).get("parameters", []):
            if parameter["in"] == place:
                name = parameter["name"]
                yield pytest.param(path, name, parameter, id=f"{path}?{name}")


QUERY = list(parameters("query"))
BOUNDED = [each for each in QUERY if "minimum" in each.values[2]["schema"]]
TEXTS = [each for each in QUERY if "pattern" in each.values[2]["schema"]]


@pytest.fixture
def client(task: Task) -> SchemaCheckingClient:
    """The owner of a task, whose responses are compared with the schema."""
    client = SchemaCheckingClient()
    client.force_authenticate(task.owner)
    return client


@pytest.fixture
def task(user1: Any) -> Task:
    return Task.objects.create(title="Yangi vazifa", owner=user1)


def status(client: APIClient, task: Task, path: str, query: dict[str, Any]) -> int:
    response = client.get(re.sub("{.*}", str(task.pk), path), query)
    response.close()  # a stream would keep its place
    return int(response.status_code)


@pytest.mark.parametrize(("path", "name", "described"), QUERY)
def test_no_parameter_may_be_empty(
    client: APIClient, task: Task, path: str, name: str, described: dict[str, Any]
) -> None:
    assert "allowEmptyValue" not in described
    assert not re.fullmatch(described["schema"].get("pattern", "."), "")
    assert status(client, task, path, {name: ""}) == 400


def test_a_body_has_no_other_fields_than_the_schema_says() -> None:
    schemas = {name: each for name, each in openapi()["components"]["schemas"].items() if name.endswith("Request")}

    assert len(schemas) == 9
    assert {each["additionalProperties"] for each in schemas.values()} == {False}


@pytest.mark.parametrize(("path", "name", "described"), BOUNDED)
def test_a_number_is_accepted_within_its_bounds(
    client: APIClient, task: Task, path: str, name: str, described: dict[str, Any]
) -> None:
    least, most = described["schema"]["minimum"], described["schema"].get("maximum")

    assert status(client, task, path, {name: least}) == 200
    assert status(client, task, path, {name: least - 1}) in {400, 404}
    if most is not None:
        assert status(client, task, path, {name: most}) == 200
        assert status(client, task, path, {name: most + 1}) == 400


def test_numbers_have_bounds() -> None:
    numbers = {(path, name) for path, name, each in (q.values for q in QUERY) if each["schema"]["type"] == "integer"}

    assert {tuple(each.values[:2]) for each in BOUNDED} == numbers
    assert (STREAM, "task") in numbers


@pytest.mark.parametrize(("path", "name", "described"), TEXTS)
def test_no_text_may_contain_a_nul(
    client: APIClient, task: Task, path: str, name: str, described: dict[str, Any]
) -> None:
    pattern = described["schema"]["pattern"]

    assert not re.fullmatch(pattern, "a\0b")
    assert status(client, task, path, {name: "a\0b"}) == (404 if name == "cursor" and path != "/tasks/" else 400)


@pytest.mark.parametrize("ordering", ["completed", "-created_at", "completed,-created_at"])
def test_an_order_that_the_schema_allows_is_one(client: APIClient, task: Task, ordering: str) -> None:
    [described] = [each.values[2] for each in QUERY if each.values[:2] == ("/tasks/", "ordering")]

    assert re.fullmatch(described["schema"]["pattern"], ordering)
    assert status(client, task, "/tasks/", {"ordering": ordering}) == 200


@pytest.mark.parametrize("ordering", ["title", "--completed", "completed;created_at"])
def test_an_order_that_the_schema_forbids_is_none(client: APIClient, task: Task, ordering: str) -> None:
    [described] = [each.values[2] for each in QUERY if each.values[:2] == ("/tasks/", "ordering")]

    assert not re.fullmatch(described["schema"]["pattern"], ordering)
    assert status(client, task, "/tasks/", {"ordering": ordering}) == 400


@pytest.mark.parametrize("operation", [("/tasks/{id}/", method) for method in ("get", "put", "patch", "delete")])
def test_conditions_are_described_with_tags_to_try(operation: tuple[str, str]) -> None:
    path, method = operation
    headers = [each for each in openapi()["paths"][path][method]["parameters"] if each["in"] == "header"]

    assert [header["name"] for header in headers] == ["If-Match", "If-None-Match"][: 2 if method == "get" else 1]
    for header in headers:
        assert header["schema"]["pattern"] == PATTERN
        assert header["examples"]


@pytest.mark.parametrize("path", ["/tasks/", "/tasks/bulk/"])
@pytest.mark.parametrize("key", ["a", "~" * 255, "", "a b", "a" * 256, "é"])
def test_an_idempotency_key_is_accepted_if_the_schema_says_so(client: APIClient, path: str, key: str) -> None:
    [header] = [each for each in openapi()["paths"][path]["post"]["parameters"] if each["in"] == "header"]
    one = {"title": "Yangi vazifa"}
    body: Any = [one] if path == "/tasks/bulk/" else one

    answer = client.post(path, body, format="json", headers={"Idempotency-Key": key})

    assert (answer.status_code == 201) is bool(re.fullmatch(header["schema"]["pattern"], key))


@pytest.mark.parametrize(
    ("title", "answered"), [("a", 201), (" a ", 201), (" ", 400), ("\t\u2003", 400), ("a\0", 400), ("\0", 400)]
)
def test_a_title_is_accepted_if_the_schema_says_so(client: APIClient, title: str, answered: int) -> None:
    pattern = openapi()["components"]["schemas"]["TaskRequest"]["properties"]["title"]["pattern"]

    assert bool(re.fullmatch(pattern, title)) is (answered == 201)
    assert client.post("/tasks/", {"title": title}, format="json").status_code == answered


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("post", ["title", "description", "completed"]),
        ("patch", ["id", "title", "description", "completed", "if_match"]),
        ("delete", ["id", "if_match"]),
    ],
)
def test_the_schema_says_what_a_list_of_tasks_is_and_how_many_it_has(method: str, fields: list[str]) -> None:
    content = openapi()["paths"]["/tasks/bulk/"][method]["requestBody"]["content"]
    many = content["application/json"]["schema"]
    one = openapi()["components"]["schemas"][many["items"]["$ref"].rpartition("/")[2]]

    assert list(content) == ["application/json"]
    assert (many["type"], many["minItems"], many["maxItems"]) == ("array", 1, 500)
    assert list(one["properties"]) == fields
    assert one["required"] == fields[:1]


@pytest.mark.parametrize("method", ["patch", "delete"])
@pytest.mark.parametrize(
    "named",
    [
        *({"id": number} for number in (1, 2**63 - 1, 0, 2**63)),
        *({"id": 1, "if_match": tag} for tag in ("*", '"a"', 'W/"a", "b"', " * ", '"a', "", '"\0"')),
    ],
)
def test_a_task_is_named_as_the_schema_says(client: APIClient, method: str, named: dict[str, Any]) -> None:
    Task.objects.all().delete()
    fields = openapi()["components"]["schemas"]["TaskReferenceRequest"]["properties"]
    number, tag = named["id"], named.get("if_match", "*").strip()
    is_valid = fields["id"]["minimum"] <= number <= fields["id"]["maximum"]
    is_valid &= bool(re.fullmatch(fields["if_match"]["pattern"], tag))

    assert (getattr(client, method)("/tasks/bulk/", [named], format="json").status_code == 404) is is_valid


def test_a_streams_event_is_described_by_its_fields() -> None:
    [_whole, sent] = openapi()["paths"][STREAM]["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"][
        "anyOf"
    ]

    assert list(sent["properties"]) == ["id", "event", "data"]
    assert sent["properties"]["event"]["enum"] == ["task.created", "task.updated", "task.deleted"]
