"""What a check of Schemathesis calls a failure and is right all the same: the whole list, with the reason of each.

Schemathesis' process imports this module (`hooks` in schemathesis.toml).
"""

from collections.abc import Callable
from typing import Any

import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.core.failures import Failure

# Schemathesis' codes of failures (`schemathesis explain ST201`).
INVALID_ACCEPTED, VALID_REFUSED, UNDECLARED_METHOD, DELETED_AVAILABLE = "ST201", "ST202", "ST204", "ST301"
MAX_TITLE = 200
CONDITIONS = {"If-Match", "If-None-Match"}


def used_idempotency_key(failure: Failure, case: Case[Any], response: Response) -> bool:
    """A valid body with an Idempotency-Key that was used for another body: no schema can say that of two requests."""
    return failure.code == VALID_REFUSED and response.status_code == 422 and "Idempotency-Key" in (case.headers or {})


def unmet_condition(failure: Failure, case: Case[Any], response: Response) -> bool:
    """An invented ETag is not that of the task's present state; a body, valid or not, is looked at after it."""
    has_condition = bool(CONDITIONS & set(case.headers or {}))
    return failure.code in {VALID_REFUSED, INVALID_ACCEPTED} and response.status_code == 412 and has_condition


def tasks_as_they_are(failure: Failure, case: Case[Any], response: Response) -> bool:
    """No schema can say which tasks are there, and in which state; nor that a list has none twice."""
    if failure.code != VALID_REFUSED or response.status_code not in {400, 412} or case.operation.path != "/tasks/bulk/":
        return False
    return all(isinstance(error, dict) and "code" in error for error in response.json().values())


def header_of_letters(failure: Failure, case: Case[Any], response: Response) -> bool:
    """Schemathesis makes some headers of letters and digits alone, whatever their pattern, and takes them for valid."""
    made = [value for name, value in (case.headers or {}).items() if name in CONDITIONS]
    return failure.code == VALID_REFUSED and response.status_code == 400 and any(map(str.isalnum, map(str, made)))


def history_of_a_deleted_task(failure: Failure, case: Case[Any], response: Response) -> bool:
    """A task's history outlives the task, on purpose."""
    return failure.code == DELETED_AVAILABLE and case.operation.path == "/tasks/{task_id}/activity/"


def unknown_header(failure: Failure, case: Case[Any], response: Response) -> bool:
    """A header that a server does not know has to be ignored (RFC 9110, 5.1)."""
    return failure.code == INVALID_ACCEPTED and "x-schemathesis-unknown-property" in (case.headers or {})


def empty_id(failure: Failure, case: Case[Any], response: Response) -> bool:
    """A client of the stream that has seen no event has an empty id: it is as if it sent none."""
    return failure.code == INVALID_ACCEPTED and response.request.headers.get("Last-Event-ID") in ("", b"")


def costly_search(failure: Failure, case: Case[Any], response: Response) -> bool:
    """A search needs a word of three letters, of any alphabet, and has five at most: no pattern says that portably."""
    is_refused = response.status_code == 400 and set(response.json()) == {"search"}
    return failure.code == VALID_REFUSED and "search" in (case.query or {}) and is_refused


def place_on_pages_of_the_other_kind(failure: Failure, case: Case[Any], response: Response) -> bool:
    """Numbered pages have no `cursor`, and pages with cursors no `page`: no schema says that of two parameters."""
    is_refused = response.status_code == 400 and set(response.json()) in ({"cursor"}, {"page"})
    return failure.code == VALID_REFUSED and case.operation.path == "/tasks/" and is_refused


def trimmed_title(failure: Failure, case: Case[Any], response: Response) -> bool:
    """A title is measured without the spaces around it, which are removed; a schema measures all of it."""
    bodies = case.body if isinstance(case.body, list) else [case.body]
    titles = [body.get("title") for body in bodies if isinstance(body, dict)]
    is_long = any(isinstance(title, str) and len(title) > MAX_TITLE >= len(title.strip()) for title in titles)
    return failure.code == INVALID_ACCEPTED and is_long


def probe(failure: Failure, case: Case[Any], response: Response) -> bool:
    """Health probes are answered by any method: a load balancer chooses its own."""
    return failure.code == UNDECLARED_METHOD and case.operation.path.startswith("/health/")


ACCEPTED: list[Callable[[Failure, Case[Any], Response], bool]] = [
    used_idempotency_key,
    unmet_condition,
    tasks_as_they_are,
    header_of_letters,
    history_of_a_deleted_task,
    unknown_header,
    empty_id,
    costly_search,
    place_on_pages_of_the_other_kind,
    trimmed_title,
    probe,
]


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """Drop the failures of the list."""
    return not any(is_right(failure, case, response) for is_right in ACCEPTED)
