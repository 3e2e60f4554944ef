"""What the OpenAPI schema says beyond what drf-spectacular finds out by itself."""

from typing import Any

from drf_spectacular.contrib.rest_framework_simplejwt import SimpleJWTScheme

DETAIL = {"type": "object", "properties": {"detail": {"type": "string"}}, "required": ["detail"]}
FIELD_ERRORS = {
    "type": "object",
    "description": "Messages by field; `detail` or `non_field_errors` where no single field is to blame.",
    "additionalProperties": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
}
ERRORS_OF_MANY = {
    "type": "object",
    "description": "Messages by field for each task that has any, by its index in the list; `detail` about the list.",
    "additionalProperties": {"oneOf": [{"type": "string"}, {"$ref": "#/components/schemas/FieldErrors"}]},
}
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
ETAG = {"ETag": {"description": "Of the state that is known already.", "schema": {"type": "string"}}}

LIST, TASK, BULK, STREAM = "/tasks/", "/tasks/{id}/", "/tasks/bulk/", "/activity/stream/"


class TokenScheme(SimpleJWTScheme):  # type: ignore[no-untyped-call]  # drf-spectacular finds it by being made
    """Documents `TokenAuthentication` as simplejwt's own: to a client it is the same."""

    target_class = "project.api.authentication.TokenAuthentication"


def document_errors(result: dict[str, Any], generator: Any, **kwargs: Any) -> dict[str, Any]:
    """Add to every operation the errors that it can answer with (a drf-spectacular post-processing hook)."""
    schemas = {"Error": DETAIL, "FieldErrors": FIELD_ERRORS, "ErrorsOfMany": ERRORS_OF_MANY}
    result["components"]["schemas"] |= schemas
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            for status, response in sorted(_errors(path, method).items()):
                operation["responses"].setdefault(status, response)
    return result


def _errors(path: str, method: str) -> dict[str, Any]:
    errors = {
        "400": _error(
            "Bad input; the message says what is wrong with it.", "ErrorsOfMany" if path == BULK else "FieldErrors"
        ),
        "404": _error("No such task, page or format."),
        "406": _error("No representation of an accepted type."),
        "411": _error("A body without its length."),
        "413": _error("The body is too large."),
        "415": _error("The body is of a type or encoding that cannot be read."),
        "429": _error("Too many requests.") | {"headers": RETRY_AFTER},
        "503": _error(
            "The database is not available, or too many clients follow the activity."
            if path == STREAM
            else "The database is not available."
        )
        | {"headers": RETRY_AFTER},
    }
    if path.startswith(("/tasks/", "/activity/")):
        errors["401"] = _error("No token, or one that is forged or expired.")
    if path in {LIST, BULK} and method == "post":
        errors |= _errors_of_creation()
    if path == TASK:
        errors |= _errors_of_conditions(method)
    if path.startswith("/api/token/"):
        errors["401"] = _error("Wrong credentials, or a token that is forged or expired.")
    return errors


def _errors_of_creation() -> dict[str, Any]:
    return {
        "403": _error("A browser's session without its CSRF token."),
        "409": _error("A request with this Idempotency-Key is still being carried out.") | {"headers": RETRY_AFTER},
        "422": _error("This Idempotency-Key was used for another request."),
    }


def _errors_of_conditions(method: str) -> dict[str, Any]:
    errors = {"412": _error("The task is not in the state that the request means; nothing was changed.")}
    if method == "get":
        return errors | {"304": {"description": "The task is as the client knows it.", "headers": ETAG}}
    return errors | {
        "403": _error("Another user's task, or a browser's session without its CSRF token."),
        "428": _error("The request has to say by If-Match which state it means, where that is demanded."),
    }


def _error(description: str, schema: str = "Error") -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}
