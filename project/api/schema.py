"""Adds to the OpenAPI schema what drf-spectacular cannot derive from the code."""

from typing import Any

from drf_spectacular.contrib.rest_framework_simplejwt import SimpleJWTScheme

from actors.rest import cursors
from tasks.bulk import MAX_TASKS
from tasks.bulk_serializers import TaskReferenceSerializer

DETAIL = {"type": "object", "properties": {"detail": {"type": "string"}}, "required": ["detail"]}
FIELD_ERRORS = {
    "type": "object",
    "description": "Messages by field; `detail` or `non_field_errors` where no single field is to blame.",
    "additionalProperties": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
}
ERRORS_OF_MANY = {
    "type": "object",
    "description": "Messages by field for each task that has any, or `detail` and `code`, by its index in the list; "
    "`detail` about the list.",
    "additionalProperties": {"oneOf": [{"type": "string"}, {"$ref": "#/components/schemas/FieldErrors"}]},
}
EVERYWHERE = {
    "400": "Bad input; the message says what is wrong with it.",
    "404": "No such task, page or format.",
    "406": "No representation of an accepted type.",
    "411": "A body without its length.",
    "413": "The body is too large.",
    "415": "The body is not JSON in UTF-8.",
    "429": "Too many requests.",
    "503": "The database is not available, or the request took it too long (code: query_timeout).",
}
CSRF = {"403": "A browser's session without its CSRF token."}
OF_KEYS = {
    "409": "A request with this Idempotency-Key is still being carried out.",
    "422": "This Idempotency-Key was used for another request.",
}
UNMET = {"412": "A condition is not met: the task has another ETag. Nothing was changed."}
OF_CHANGE = {
    **UNMET,
    "403": "Another user's task, or a browser's session without its CSRF token.",
    "428": "If-Match is missing, or if_match in a list, and this service requires it.",
}
# What may be wrong with single tasks of a list.
ERRORS_OF_TASKS = {"400", "403", "404", "412", "428"}
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
HEADERS = {"409": RETRY_AFTER, "429": RETRY_AFTER, "503": RETRY_AFTER}
ETAG = {"ETag": {"description": "The task's ETag, which the client sent.", "schema": {"type": "string"}}}
NOT_MODIFIED = {"description": "The task is unchanged.", "headers": ETAG}

LIST, TASK, BULK, STREAM = "/tasks/", "/tasks/{id}/", "/tasks/bulk/", "/activity/stream/"
LOGIN = "/api/token/"
EXPORT = "/tasks/export/"


# As `actors.rest.keyset.require_page_size` has it; a page has 100 rows at most, however many are asked for.
BOUNDS: dict[str, dict[str, Any]] = {
    "page": {"minimum": 1},
    "page_size": {"minimum": 1, "maximum": 10**18 - 1},
    "cursor": {"pattern": cursors.PATTERN},
}

# No text may contain a NUL, and one of at least a character, as parameters are, may not consist of spaces.
TEXT, NOT_BLANK = r"^[^\x00]*$", r"^[^\x00]*[^\s\x00][^\x00]*$"


class TokenScheme(SimpleJWTScheme):  # type: ignore[no-untyped-call]  # drf-spectacular registers it by its class
    """Documents `TokenAuthentication` as simplejwt's own: to a client it is the same."""

    target_class = "project.api.authentication.TokenAuthentication"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        text = "The `access` token that `POST /api/token/` returns for a username and a password."
        return {**super().get_security_definition(auto_schema), "description": text}  # type: ignore[no-untyped-call]


def document(result: dict[str, Any], generator: Any, **kwargs: Any) -> dict[str, Any]:
    """Add to every operation its errors, and what parameters may be (a drf-spectacular post-processing hook)."""
    schemas = {"Error": DETAIL, "FieldErrors": FIELD_ERRORS, "ErrorsOfMany": ERRORS_OF_MANY}
    result["components"]["schemas"] |= schemas
    _describe_lists(result["paths"][BULK], result["components"]["schemas"])
    for name, schema in result["components"]["schemas"].items():
        if name.endswith("Request"):
            schema["additionalProperties"] = False
            for field in schema.get("properties", {}).values():
                _describe_text(field, NOT_BLANK if field.get("minLength") else TEXT)
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            _describe_parameters(operation.get("parameters", []))
            for status, response in sorted(_errors(path, method).items()):
                operation["responses"].setdefault(status, response)
    return result


def _describe_lists(operations: dict[str, Any], schemas: dict[str, Any]) -> None:
    # drf-spectacular describes no body of a DELETE. This one names tasks as a PATCH does.
    change = schemas["TaskChangeRequest"]
    names = {name: change["properties"][name] for name in TaskReferenceSerializer().fields}
    schemas["TaskReferenceRequest"] = {
        "type": "object",
        "description": "Names a task, and the state that it has to be in.",
        "properties": names,
        "required": ["id"],
    }
    items = {"$ref": "#/components/schemas/TaskReferenceRequest"}
    content = {"application/json": {"schema": {"type": "array", "items": items}}}
    operations["delete"]["requestBody"] = {"content": content, "required": True}
    for operation in operations.values():
        many = operation["requestBody"]["content"]["application/json"]["schema"]
        many |= {"minItems": 1, "maxItems": MAX_TASKS}  # for which drf-spectacular would write minLength and maxLength


def _describe_parameters(parameters: list[dict[str, Any]]) -> None:
    for parameter in parameters:
        parameter["schema"] |= BOUNDS.get(parameter["name"], {})
        if parameter["in"] == "query":
            _describe_text(parameter["schema"], NOT_BLANK)


def _describe_text(schema: dict[str, Any], pattern: str) -> None:
    if schema.get("type") == "string" and not schema.keys() & {"enum", "format", "pattern"}:
        schema["pattern"] = pattern


def _errors(path: str, method: str) -> dict[str, Any]:
    texts = dict(EVERYWHERE)
    if path == STREAM:
        texts["503"] = "The database is not available or took too long, or too many clients follow the activity."
    if path == EXPORT:
        texts["503"] = "The database is not available or took too long, or too many files are being exported."
    if path in {STREAM, EXPORT}:
        texts["429"] = "Too many requests, or as many of these responses at a time as one user may have."
    if path.startswith(("/tasks/", "/activity/")):
        texts["401"] = "No token, or one that is forged or expired."
    if path == LOGIN:
        texts["429"] = "Too many requests, or wrong passwords; the latter with the code too_many_attempts."
        texts["503"] = "The database is not available, or too many users sign in at once, with the code login_busy."
    if path.startswith("/api/token/"):
        texts["401"] = "Wrong credentials, or a token that is forged or expired."
    if path in {LIST, BULK} and method != "get":
        texts |= CSRF | OF_KEYS
    if path == TASK and method == "get":
        texts |= UNMET
    elif path in {TASK, BULK} and method != "post":
        texts |= OF_CHANGE
    errors = {status: _error(path, status, text) for status, text in texts.items()}
    return errors | ({"304": NOT_MODIFIED} if path == TASK and method == "get" else {})


def _error(path: str, status: str, description: str) -> dict[str, Any]:
    schema = "FieldErrors" if status == "400" else "Error"
    if path == BULK and status in ERRORS_OF_TASKS:
        schema = "ErrorsOfMany"
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    headers = {"headers": HEADERS[status]} if status in HEADERS else {}
    return {"description": description, "content": content, **headers}
