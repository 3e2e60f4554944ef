"""Completes the OpenAPI schema: what an operation takes decides which errors and headers it answers with.

Guarantee: one place says it for all operations. A view says in `extend_schema` what is its own, such as a summary, or
the words for one status; the shape of errors, headers and the meaning of parameters are added here.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from drf_spectacular.contrib.rest_framework_simplejwt import SimpleJWTScheme

from project import health
from project.api import schema_texts as texts
from tasks.bulk import MAX_TASKS
from tasks.bulk_serializers import TaskReferenceSerializer

Json = dict[str, Any]

ERROR_HEADERS = {"401": "WWW-Authenticate", "409": "Retry-After", "429": "Retry-After", "503": "Retry-After"}
# What may be wrong with each of many tasks that are there.
OF_SINGLE_TASKS = {"403", "404", "412", "428"}
BULK = "/tasks/bulk/"

OPTIONAL = {"count"}
"""The fields that a response may lack: pages by cursor are not counted."""

# No text may contain a NUL, and one of at least a character, as parameters are, may not consist of spaces.
TEXT, NOT_BLANK = r"^[^\x00]*$", r"^[^\x00]*[^\s\x00][^\x00]*$"


class TokenScheme(SimpleJWTScheme):  # type: ignore[no-untyped-call]  # drf-spectacular registers it by its class
    """Documents `TokenAuthentication` as simplejwt's own: to a client it is the same."""

    target_class = "project.api.authentication.TokenAuthentication"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        text = "The `access` token that `POST /api/token/` returns for a username and a password."
        return {**super().get_security_definition(auto_schema), "description": text}  # type: ignore[no-untyped-call]


def document(result: Json, generator: Any, **kwargs: Any) -> Json:
    """Complete all operations and schemas (a drf-spectacular post-processing hook)."""
    _describe_deletion_of_many(result["paths"][BULK]["delete"], result["components"]["schemas"])
    for name, schema in result["components"]["schemas"].items():
        (_describe_request if name.endswith("Request") else _describe_answer)(schema)
        if name in texts.EXAMPLES:
            schema["example"] = texts.EXAMPLES[name]
    result["paths"] |= deepcopy(health.SCHEMA)
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            operation.setdefault("security", [])
            for parameter in operation.get("parameters", []):
                _describe_parameter(parameter)
            if _takes_many(operation):
                # For which drf-spectacular would write minLength and maxLength.
                _body_of(operation).update(minItems=1, maxItems=MAX_TASKS)
            takes = _names_in(operation, result["components"]["schemas"])
            _describe_responses(operation, path, method, takes)
    result["components"]["schemas"] |= texts.SCHEMAS
    result["components"]["headers"] = texts.HEADERS
    return result


def _describe_deletion_of_many(operation: Json, schemas: Json) -> None:
    # drf-spectacular describes no body of a DELETE. This one names tasks as a PATCH does.
    fields = schemas["TaskChangeRequest"]["properties"]
    schemas["TaskReferenceRequest"] = {
        "type": "object",
        "description": "Names a task, and the state that it has to be in.",
        "properties": {name: fields[name] for name in TaskReferenceSerializer().fields},
        "required": ["id"],
    }
    items = {"$ref": "#/components/schemas/TaskReferenceRequest"}
    content = {"application/json": {"schema": {"type": "array", "items": items}}}
    operation["requestBody"] = {"content": content, "required": True}


def _body_of(operation: Json) -> Json:
    content: Json = operation.get("requestBody", {}).get("content", {})
    schema: Json = content.get("application/json", {}).get("schema", {})
    return schema


def _names_in(operation: Json, schemas: Json) -> set[str]:
    """Return the names of an operation's parameters, and of the fields of each of many tasks."""
    names = {parameter["name"] for parameter in operation.get("parameters", [])}
    if _takes_many(operation):
        names |= schemas[_body_of(operation)["items"]["$ref"].rpartition("/")[2]]["properties"].keys()
    return names


def _takes_many(operation: Json) -> bool:
    return _body_of(operation).get("type") == "array"


def _describe_request(schema: Json) -> None:
    schema["additionalProperties"] = False
    for field in schema["properties"].values():
        _describe_text(field, NOT_BLANK if field.get("minLength") else TEXT)


def _describe_answer(schema: Json) -> None:
    schema["required"] = [name for name in schema["properties"] if name not in OPTIONAL]
    for name, field in schema["properties"].items():
        for of_requests in ("default", "example"):  # the example is of another service
            field.pop(of_requests, None)
        if field.get("type") == "integer" and (name == "id" or name.endswith("_id")):
            field.update(texts.ID)


def _describe_parameter(parameter: Json) -> None:
    name, schema = parameter["name"], parameter["schema"]
    parameter["description"] = texts.PARAMETERS.get(name) or parameter.get("description", "")
    schema |= texts.BOUNDS.get(name, {})
    if parameter["in"] == "query":
        _describe_text(schema, NOT_BLANK)


def _describe_text(schema: Json, pattern: str) -> None:
    if schema.get("type") == "string" and not schema.keys() & {"enum", "format", "pattern"}:
        schema["pattern"] = pattern


def _describe_responses(operation: Json, path: str, method: str, takes: set[str]) -> None:
    answers = operation["responses"]
    for status, text in _statuses(operation, path, method, takes).items():
        answers.setdefault(status, {}).setdefault("description", text)
    for status, answer in answers.items():
        answer["description"] = answer["description"] or texts.DONE.get(status, "")
        if status >= "400":
            answer.setdefault("content", _error_of(status, operation, takes))
        if status not in texts.BY_WEB_SERVER:
            names = [*_headers(operation, status, answer), "X-Request-ID"]
            answer["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    operation["responses"] = dict(sorted(answers.items()))


def _statuses(operation: Json, path: str, method: str, takes: set[str]) -> dict[str, str]:
    """Return the errors of an operation, and 304, with a text for each."""
    is_change = method != "get"
    is_conditional = bool(takes & {"If-Match", "if_match"})
    parts = (
        (texts.BY_WEB_SERVER, True),
        (texts.OF_ALL, path not in health.SCHEMA),
        (texts.OF_USERS, operation["security"]),
        (texts.OF_USERS_WRITES, operation["security"] and is_change),
        (texts.OF_BODIES, "requestBody" in operation),
        (texts.OF_PAGES, "cursor" in takes),
        (texts.OF_TASK, takes & {"id", "task_id"}),
        (texts.OF_KEY, "Idempotency-Key" in takes),
        (texts.NOT_MODIFIED, "If-None-Match" in takes),
        (texts.UNMET, is_conditional),
        (texts.OF_CHANGE, is_conditional and is_change),
    )
    found: dict[str, str] = {}
    for part, applies in parts:
        found |= part if applies else {}
    return found


def _headers(operation: Json, status: str, answer: Json) -> Iterator[str]:
    content = answer.get("content", {})
    if content.get("application/json") == _reference("Error") and status in ERROR_HEADERS:
        yield ERROR_HEADERS[status]
    if status == "304" or content.get("application/json") == _reference("Task"):
        yield "ETag"
    if status.startswith("2") and "409" in operation["responses"]:
        yield "Idempotency-Replayed"
    if "text/csv" in content:
        yield "Content-Disposition"


def _error_of(status: str, operation: Json, takes: set[str]) -> Json:
    if status in texts.BY_WEB_SERVER:
        return {"text/plain": {"schema": {"type": "string"}}}
    name = "FieldErrors" if status == "400" else "Error"
    if _takes_many(operation) and (status == "400" or ("id" in takes and status in OF_SINGLE_TASKS)):
        name = "ErrorsOfMany"
    return {"application/json": _reference(name)}


def _reference(name: str) -> Json:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}
