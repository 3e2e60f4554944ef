"""A client that compares every response with the OpenAPI schema."""

import re
from functools import cache
from typing import Any

from drf_spectacular.settings import spectacular_settings
from rest_framework.test import APIClient


@cache
def openapi() -> dict[str, Any]:
    """The schema that clients download."""
    schema: dict[str, Any] = spectacular_settings.DEFAULT_GENERATOR_CLASS().get_schema(request=None, public=True)
    return schema


@cache
def documented_statuses(path: str, method: str) -> frozenset[int] | None:
    """Which statuses the schema says `method` may answer at `path`; None where there is no such operation."""
    # An address that is spelt out goes before one with an id in it, as it does in the routes.
    for template, operations in sorted(openapi()["paths"].items(), key=lambda item: "{" in item[0]):
        if re.fullmatch(re.sub(r"{\w+}", "[^/.]+", template), path) and method.lower() in operations:
            return frozenset(int(status) for status in operations[method.lower()]["responses"])
    return None


class SchemaCheckingClient(APIClient):
    """Fails the test that gets a 5xx (where none is meant) or a status that the schema does not name."""

    def __init__(self, **defaults: Any) -> None:
        super().__init__(raise_request_exception=False, **defaults)

    def request(self, **request: Any) -> Any:
        response = super().request(**request)
        method, path = request["REQUEST_METHOD"], request.get("PATH_INFO", "/")
        documented = documented_statuses(path, method)
        assert response.status_code < 500 or response.status_code == 503, response.content
        assert documented is None or response.status_code in documented, f"{method} {path}: {response.status_code}"
        return response
