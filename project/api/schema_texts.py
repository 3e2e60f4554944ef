"""What the OpenAPI schema says beyond what the code says itself: of parameters, errors, headers; and examples.

Guarantee: plain data, in English alone, which `schema` puts in its places. Tests hold it against real responses, and
each example against its own schema.
"""

from typing import Any

from django.db.models import BigIntegerField

from actors.outbox.db.search import MAX_SEARCH_LENGTH, MAX_WORDS, MIN_LENGTH
from actors.rest import cursors
from actors.rest.keyset import MAX_PAGE_SIZE

ID = {"format": "int64", "minimum": 1, "maximum": BigIntegerField.MAX_BIGINT}

PARAMETERS: dict[str, str] = {
    "Idempotency-Key": "Makes the request safe to repeat: with the same key and body it gets the first response again. "
    "Take a new key, such as a UUID, for each new request.",
    "If-Match": "The ETag of the task as you know it. If it has another one by now, the response is a 412.",
    "If-None-Match": "The ETag of the task as you have it. If it still has it, the response is a 304.",
    "Last-Event-ID": "The last `id` that you got: the stream goes on after it. Without it, it begins now.",
    "bom": "Whether csv begins with a byte order mark, by which Excel recognizes UTF-8.",
    "changed_by": "Events of one user's changes: a username, or `system` for changes without a user.",
    "completed": "Tasks that are completed (`true`), or are not (`false`).",
    "cursor": "Where the page begins, as `next` and `previous` of other pages have it.",
    "event": "Events of one kind.",
    "format": "The format of the file; without it, `Accept` decides, and `jsonl` if it accepts anything.",
    "id": "The task's id.",
    "ordering": "The fields to order by, separated by commas; `-` before one reverses it. By default `created_at`. "
    "Tasks that are equal in all of them are in the order of their ids.",
    "owner": "Tasks of one user, by id.",
    "owner_username": "Tasks of one user, by username.",
    "page": "The number of the page, from 1 on; a page that does not exist is a 404.",
    "page_size": f"How many there are on a page; more than {MAX_PAGE_SIZE} are cut to {MAX_PAGE_SIZE}.",
    "pagination": "Whether pages are numbered, and counted (`page`, the default), or have cursors (`cursor`).",
    "search": 'Words that are in the title or the description, each of them, in any case; `"a phrase"` is one word. '
    f"{MAX_WORDS} words at most, one of them of {MIN_LENGTH} letters or digits.",
    "since": "Events at this time or later.",
    "task": "Events of one task, by its id.",
    "task_id": "The task's id; its events outlive it.",
    "until": "Events before this time.",
}
BOUNDS: dict[str, dict[str, Any]] = {
    "cursor": {"pattern": cursors.PATTERN},
    "Idempotency-Key": {"minLength": 1, "maxLength": 255},
    "id": ID,
    "owner": ID,
    "page": {"minimum": 1},
    "page_size": {"minimum": 1, "maximum": 10**18 - 1},  # as `actors.rest.keyset.require_page_size` has it
    "search": {"maxLength": MAX_SEARCH_LENGTH},
    "task_id": ID,
}
"""Of parameters. None has a `default`: generated clients would always send it, also where it does not belong."""

OF_ALL = {
    "400": "The request is not as described here; the messages say what is wrong with it.",
    "403": "It was sent over plain http, and the service demands https (code: `https_required`).",
    "404": "There is no such `format`.",
    "406": "No representation is of a type that `Accept` names.",
    "429": "Too many requests.",
    "503": "The database is not available, or the request took it too long (code: `query_timeout`).",
}
OF_USERS = {"401": "No token, or one that is forged, expired, or whose sign-in has ended."}
OF_USERS_WRITES = {"403": "A browser's session without its CSRF token, or plain http where https is demanded."}
OF_BODIES = {
    "411": "The length of the body is missing; it was sent in chunks.",
    "413": "The body is too large.",
    "415": "The body is not JSON in UTF-8, or is compressed.",
}
BY_WEB_SERVER = {"414": "The address is longer than the web server reads; it says so in plain text."}
OF_PAGES = {"404": "There is no such page."}
OF_TASK = {"404": "There is no such task."}
OF_KEY = {
    "409": "A request with this Idempotency-Key is still being carried out. Repeat it later.",
    "422": "This Idempotency-Key was used for another request.",
}
NOT_MODIFIED = {"304": "The task is unchanged."}
UNMET = {"412": "A condition is not met: the task has another ETag. Nothing was changed."}
OF_CHANGE = {
    "403": "The task is another user's; or a browser's session lacks its CSRF token; or plain http, as elsewhere.",
    "428": "If-Match is missing, or `if_match` in a list, and this service requires it.",
}
DONE = {"200": "The request succeeded.", "201": "Created."}
"""Statuses, each with what it means here; by what an operation takes, which `schema` finds out."""

MESSAGES = [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
SCHEMAS: dict[str, dict[str, Any]] = {
    "Error": {
        "type": "object",
        "description": "What went wrong, and what to do.",
        "properties": {
            "detail": {"type": "string", "description": "A text for people, in the language of `Accept-Language`."},
            "code": {
                "type": "string",
                "description": "A word for programs, where one status has several reasons: `token_not_valid`, "
                "`bad_authorization_header`, `user_not_found`, `user_inactive`, `https_required`, "
                "`too_many_attempts`, `login_busy`, `query_timeout`; others may follow.",
            },
            "messages": {
                "type": "array",
                "description": "Of a token that is not valid: what is wrong with it.",
                "items": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
        "required": ["detail"],
        "example": {"detail": "Not found."},
    },
    "FieldErrors": {
        "type": "object",
        "description": "Messages by field or parameter; `detail` or `non_field_errors` where none of them is to blame.",
        "additionalProperties": {"oneOf": MESSAGES},
        "example": {"title": ["This field is required."]},
    },
    "ErrorsOfMany": {
        "type": "object",
        "description": "By the index of each task in the list that has any: messages by field, or `detail` and `code`. "
        "`detail` about the list.",
        "additionalProperties": {"oneOf": [*MESSAGES, {"$ref": "#/components/schemas/FieldErrors"}]},
        "example": {"1": {"title": ["This field is required."]}},
    },
}

TEXT = {"type": "string"}
HEADERS: dict[str, dict[str, Any]] = {
    "ETag": {
        "description": "The task's present state, for If-Match and If-None-Match.",
        "required": True,
        "schema": TEXT | {"example": '"1-0123456789abcdef"'},
    },
    "Idempotency-Replayed": {
        "description": "Sent if this is the response to the first request with the key.",
        "schema": TEXT | {"enum": ["true"]},
    },
    "Retry-After": {
        "description": "After how many seconds to come again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {
        "description": "How to authenticate.",
        "required": True,
        "schema": TEXT | {"example": 'Bearer realm="api"'},
    },
    "Content-Disposition": {
        "description": "A name for the file.",
        "required": True,
        "schema": TEXT | {"example": 'attachment; filename="tasks-2026-11-22.csv"'},
    },
    "X-Request-ID": {
        "description": "Names the request in the service's log and in events: as the client did, or anew.",
        "required": True,
        "schema": TEXT | {"example": "4f529c260ee6445090df0dd28005599a"},
    },
}

TASK = {"title": "Yangi vazifa", "description": "Test vazifa", "completed": False}
STORED_TASK = {
    "id": 1,
    **TASK,
    "owner": "user1",
    "owner_id": 1,
    "version": 1,
    "created_at": "2026-11-22T14:33:15.301873+05:00",
    "updated_at": "2026-11-22T14:33:15.301918+05:00",
}
EVENT = {
    "id": 2,
    "event": "task.updated",
    "task_id": 1,
    "version": 2,
    "title": "Yangi vazifa",
    "owner": "user1",
    "owner_id": 1,
    "changed_by": "user1",
    "changed_by_id": 1,
    "changes": {"completed": [False, True]},
    "request_id": "4f529c260ee6445090df0dd28005599a",
    "message_id": "0b9e3e0c-5f6c-4f0e-9d0c-6f5d2f4a7a10",
    "status": "logged",
    "state": None,
    "occurred_at": "2026-11-22T14:35:02.118236+05:00",
    "published_at": "2026-11-22T14:35:02.131706+05:00",
    "logged_at": "2026-11-22T14:35:02.139842+05:00",
    "attempts": 1,
}
EXAMPLES: dict[str, Any] = {
    "Task": STORED_TASK,
    "TaskRequest": TASK,
    "PatchedTaskRequest": {"completed": True},
    "Activity": EVENT,
    "PaginatedTaskList": {"count": 1, "next": None, "previous": None, "results": [STORED_TASK]},
    "PaginatedActivityList": {"next": None, "previous": None, "results": [EVENT]},
}
"""By the name of a schema."""
