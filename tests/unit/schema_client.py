"""A client that compares every response with the OpenAPI schema: its status, its body and its headers."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from drf_spectacular.settings import spectacular_settings
from jsonschema import Draft202012Validator
from rest_framework.test import APIClient

JSON = "application/json"


@cache
def openapi() -> dict[str, Any]:
    """The schema that clients download."""
    schema: dict[str, Any] = spectacular_settings.DEFAULT_GENERATOR_CLASS().get_schema(request=None, public=True)
    return schema


@cache
def documented_responses(path: str, method: str) -> dict[str, Any] | None:
    """What the schema says `method` may answer at `path`, by status; None where there is no such operation."""
    # An address that is spelt out goes before one with an id in it, as it does in the routes.
    for template, operations in sorted(openapi()["paths"].items(), key=lambda item: "{" in item[0]):
        if re.fullmatch(re.sub(r"{\w+}", "[^/.]+", template), path) and method.lower() in operations:
            responses: dict[str, Any] = operations[method.lower()]["responses"]
            return responses
    return None


def as_json_schema(part: Any) -> Any:
    """Return a part of the document as JSON Schema: there, a type that may be null is two."""
    if isinstance(part, list):
        return [as_json_schema(each) for each in part]
    if not isinstance(part, dict):
        return part
    if part.get("nullable"):
        part = {**part, "type": [part["type"], "null"]}
    return {key: as_json_schema(value) for key, value in part.items()}


@cache
def _components() -> Any:
    return as_json_schema(openapi()["components"])


def find_faults(value: Any, schema: dict[str, Any]) -> list[str]:
    """Return how a value differs from a schema of the document."""
    validator = Draft202012Validator({**as_json_schema(schema), "components": _components()})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def check_headers(sent: Mapping[str, str], described: Iterable[str], said: str) -> None:
    """Fail if a header that the schema knows is sent undescribed, or is described as always sent and is not."""
    headers = openapi()["components"]["headers"]
    required = {name for name in described if headers[name].get("required")}
    assert required <= {name for name in headers if name in sent} <= {*described}, said
    for name in headers.keys() & set(sent):
        kind = headers[name]["schema"]
        value = int(sent[name]) if kind["type"] == "integer" else sent[name]
        assert find_faults(value, kind) == [], said


def check_response(response: Any, method: str, path: str) -> None:
    """Fail if the schema describes the operation, but not such a response."""
    documented = documented_responses(path, method)
    if documented is None:
        return
    said = f"{method} {path}: {response.status_code}"
    assert str(response.status_code) in documented, said
    description = documented[str(response.status_code)]
    check_headers(response.headers, description.get("headers", {}).keys(), said)
    media_type = response.headers.get("Content-Type", "").partition(";")[0]
    if media_type == "text/html":  # the browsable API is not part of the schema
        return
    content = description.get("content", {})
    assert media_type in content if content else not response.content, said
    if media_type == JSON:
        assert find_faults(json.loads(response.content), content[JSON]["schema"]) == [], said


class SchemaCheckingClient(APIClient):
    """Fails the test that gets a 5xx (where none is meant) or a response that the schema does not describe."""

    def __init__(self, **defaults: Any) -> None:
        super().__init__(raise_request_exception=False, **defaults)

    def request(self, **request: Any) -> Any:
        response = super().request(**request)
        assert response.status_code < 500 or response.status_code == 503, response.content
        check_response(response, request["REQUEST_METHOD"], request.get("PATH_INFO", "/"))
        return response
