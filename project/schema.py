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
            for status, response in sorted(_errors(path, method).items()):
                operation["responses"].setdefault(status, response)
    return result


def _errors(path: str, method: str) -> dict[str, Any]:
    errors = {
        "400": _error("Bad input; the message says what is wrong with it.", "FieldErrors"),
        "404": _error("No such task, page or format."),
        "406": _error("No representation of an accepted type."),
        "411": _error("A body without its length."),
        "413": _error("The body is too large."),
        "415": _error("The body is of a type or encoding that cannot be read."),
        "429": _error("Too many requests.") | {"headers": RETRY_AFTER},
        "503": _error("The database is not available.") | {"headers": RETRY_AFTER},
    }
    if path.startswith("/tasks/"):
        errors["401"] = _error("No token, or one that is forged or expired.")
        if method != "get":
            errors["403"] = _error("Somebody else's task, or a browser's session without its CSRF token.")
    if path.startswith("/api/token/"):
        errors["401"] = _error("Wrong credentials, or a token that is forged or expired.")
    return errors


def _error(description: str, schema: str = "Error") -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}
