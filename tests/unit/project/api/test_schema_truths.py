"""What holds of every operation of the OpenAPI schema, those that come later included."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.schema_client import find_faults, openapi

ERRORS = {f"#/components/schemas/{name}" for name in ("Error", "FieldErrors", "ErrorsOfMany")}
OURS = re.compile(r"\b(DRF|Django|drf|simplejwt|Dramatiq|serializer|queryset|viewset|docstring|middleware)\b")
# What an operation takes, and the statuses that it can then answer.
CONSEQUENCES = {
    "If-Match": {"412"},
    "If-None-Match": {"304"},
    "Idempotency-Key": {"409", "422"},
    "cursor": {"404"},
    "page": {"404"},
    "id": {"404"},
    "task_id": {"404"},
}
ANSWERED_BY_THE_WEB_SERVER = "414"

OPERATIONS: dict[str, dict[str, Any]] = {
    f"{method} {path}": operation
    for path, operations in openapi()["paths"].items()
    for method, operation in operations.items()
}
by_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


def parts(part: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All objects of the document, with their places."""
    if isinstance(part, dict):
        yield place, part
    children = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, child in children:
        yield from parts(child, f"{place}/{key}")


def examples() -> Iterator[Any]:
    """All examples of the document, with the schemas that they are of."""
    for place, part in parts(openapi()):
        if "/example" in place:
            continue
        schema = part.get("schema", part)
        if "example" in part:
            yield pytest.param(part["example"], schema, id=place)
        for name, example in part.get("examples", {}).items():
            yield pytest.param(example["value"], schema, id=f"{place} {name}")


def test_the_document_says_who_offers_the_service_where_and_on_what_terms() -> None:
    info = openapi()["info"]

    assert info["contact"]["name"]
    assert info["license"] == {"name": "MIT", "url": "https://opensource.org/license/mit"}
    assert openapi()["servers"] == [{"url": "/", "description": "The service that this document is from."}]


@by_operation
def test_an_operation_says_what_it_does(operation: dict[str, Any]) -> None:
    [tag] = operation["tags"]

    assert 0 < len(operation["summary"]) <= 40
    assert not operation["summary"].endswith(".")
    assert operation["description"].endswith(".")
    assert tag in {each["name"] for each in openapi()["tags"] if each["description"]}


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]

    assert len(set(names)) == len(names)


@by_operation
def test_each_parameter_response_and_header_is_described(operation: dict[str, Any]) -> None:
    described = [*operation.get("parameters", []), *operation["responses"].values()]

    assert all(each["description"].endswith(".") for each in described)
    assert all(each["description"].endswith(".") for each in openapi()["components"]["headers"].values())


def test_no_text_speaks_of_how_the_service_is_made() -> None:
    texts = [
        (place, part[key]) for place, part in parts(openapi()) for key in ("summary", "description") if key in part
    ]

    assert [(place, text) for place, text in texts if isinstance(text, str) and OURS.search(text)] == []


@by_operation
def test_what_an_operation_takes_decides_what_it_can_answer(operation: dict[str, Any]) -> None:
    answers = operation["responses"].keys()

    for parameter in operation.get("parameters", []):
        assert CONSEQUENCES.get(parameter["name"], set()) <= answers
    assert ({"411", "413", "415"} <= answers) is ("requestBody" in operation)
    assert not operation["security"] or {"401", "403"} <= answers


@by_operation
def test_an_error_has_the_shape_of_errors(operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        if status == ANSWERED_BY_THE_WEB_SERVER:
            assert response["content"] == {"text/plain": {"schema": {"type": "string"}}}
        elif status.startswith("4"):
            assert list(response["content"]) == ["application/json"]
            assert response["content"]["application/json"]["schema"]["$ref"] in ERRORS


@by_operation
def test_headers_are_where_they_are_of_use(operation: dict[str, Any]) -> None:
    headers = {status: set(answer.get("headers", {})) for status, answer in operation["responses"].items()}

    assert {status for status, names in headers.items() if "X-Request-ID" not in names} <= {ANSWERED_BY_THE_WEB_SERVER}
    assert "401" not in headers or "WWW-Authenticate" in headers["401"]
    for status in headers.keys() & {"409", "429", "503"} if operation["tags"] != ["health"] else ():
        assert "Retry-After" in headers[status]


@by_operation
def test_an_operation_says_whether_it_needs_a_token(operation: dict[str, Any]) -> None:
    known = openapi()["components"]["securitySchemes"].keys()

    assert {name for way in operation["security"] for name in way} <= known
    assert bool(operation["security"]) is (operation["tags"][0] not in {"tokens", "health"})


@by_operation
def test_an_id_in_an_address_is_a_positive_number(operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            assert parameter["schema"] == {"type": "integer", "format": "int64", "minimum": 1, "maximum": 2**63 - 1}


@by_operation
def test_no_parameter_has_a_default_which_a_generated_client_would_always_send(operation: dict[str, Any]) -> None:
    assert [each["name"] for each in operation.get("parameters", []) if "default" in each["schema"]] == []


def test_what_may_be_null_has_a_type() -> None:
    assert [place for place, part in parts(openapi()) if "nullable" in part and "type" not in part] == []


def test_a_response_has_all_of_its_fields() -> None:
    schemas = openapi()["components"]["schemas"]
    answers = {name: each for name, each in schemas.items() if not name.endswith("Request")}

    for name, schema in answers.items():
        if f"#/components/schemas/{name}" not in ERRORS:
            assert schema["properties"].keys() - schema["required"] <= {"count"}, name


@pytest.mark.parametrize(("example", "schema"), list(examples()))
def test_an_example_is_one(example: Any, schema: dict[str, Any]) -> None:
    assert find_faults(example, schema) == []
