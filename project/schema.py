"""What the OpenAPI schema says beyond what drf-spectacular finds out by itself."""

from typing import Any

DETAIL = {"type": "object", "properties": {"detail": {"type": "string"}}, "required": ["detail"]}
FIELD_ERRORS = {
    "type": "object",
    "description": "Messages by field; `detail` or `non_field_errors` where no single field is to blame.",
    "additionalProperties": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
}
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}


def document_errors(result: dict[str, Any], generator: Any, **kwargs: Any) -> dict[str, Any]:
    """Add to every operation the errors that it can answer with (a drf-spectacular post-processing hook)."""
    result["components"]["schemas"] |= {"Error": DETAIL, "FieldErrors": FIELD_ERRORS}
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            for status, response in _errors(path, method, operation).items():
                operation["responses"].setdefault(status, response)
    return result


def _errors(path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    errors = {"429": _error("Too many requests.") | {"headers": RETRY_AFTER}}
    errors["503"] = _error("The database is not available.") | {"headers": RETRY_AFTER}
    errors["406"] = _error("No representation of an accepted type.")
    if path.startswith("/tasks/"):
        errors["401"] = _error("No token, or one that is forged or expired.")
    if path.startswith("/api/token/"):
        errors["401"] = _error("Wrong credentials, or a token that is forged or expired.")
    if "requestBody" in operation:
        errors["400"] = _error("Bad input.", "FieldErrors")
        errors["413"] = _error("The body is too large.")
        errors["415"] = _error("The body is of a type or encoding that cannot be read.")
    if path == "/tasks/" and method == "get":
        errors["400"] = _error("A parameter that means nothing.", "FieldErrors")
        errors["404"] = _error("No such page.")
    if path == "/tasks/{id}/":
        errors["404"] = _error("No such task.")
        if method != "get":
            errors["403"] = _error("Somebody else's task.")
    return errors


def _error(description: str, schema: str = "Error") -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}
