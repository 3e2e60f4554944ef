"""A session with the client that openapi-python-client makes: `session.py ADDRESS PASSWORD`.

It runs in the tools' own Python, with the client in its path.
"""

import json
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

from vazifa_client import AuthenticatedClient, Client
from vazifa_client.api.activity import activity_list, tasks_activity_list
from vazifa_client.api.health import health_live, health_ready
from vazifa_client.api.tasks import (
    tasks_bulk_create,
    tasks_bulk_destroy,
    tasks_bulk_update,
    tasks_create,
    tasks_destroy,
    tasks_export,
    tasks_list,
    tasks_partial_update,
    tasks_retrieve,
    tasks_update,
)
from vazifa_client.api.tokens import (
    tokens_logout,
    tokens_logout_everywhere,
    tokens_obtain,
    tokens_refresh,
    tokens_verify,
)
from vazifa_client.models import (
    Activity,
    ActivityEvent,
    ActivityListEvent,
    ActivityStatus,
    Error,
    ErrorsOfMany,
    FieldErrors,
    LogoutEverywhereRequest,
    LogoutRequest,
    PaginatedActivityList,
    PaginatedTaskList,
    PatchedTaskRequest,
    Task,
    TaskChangeRequest,
    TaskReferenceRequest,
    TaskRequest,
    TasksExportFormat,
    TasksListPagination,
    TokenObtainPair,
    TokenObtainPairRequest,
    TokenRefresh,
    TokenRefreshRequest,
    TokenVerifyRequest,
)

address, password = sys.argv[1:]
stranger = Client(address)


def expect(answer: Any, status: int, kind: type) -> Any:
    """Return what the client made of a response, which has to have this status and type."""
    assert answer.status_code == status, (answer.status_code, answer.content)
    assert isinstance(answer.parsed, kind), answer.parsed
    return answer.parsed


def sign_in(name: str, word: str = password) -> Any:
    return tokens_obtain.sync_detailed(client=stranger, body=TokenObtainPairRequest(username=name, password=word))


def cursor_of(link: str) -> str:
    return parse_qs(urlsplit(link).query)["cursor"][0]


# Tokens.
pair = expect(sign_in("user"), 200, TokenObtainPair)
assert "username" in expect(sign_in(""), 400, FieldErrors)
assert expect(sign_in("nobody", "wrong"), 401, Error).detail
for _ in range(3):
    refused = sign_in("nobody", "wrong")
assert expect(refused, 429, Error).code == "too_many_attempts"
assert int(refused.headers["Retry-After"]) > 0
fresh = expect(
    tokens_refresh.sync_detailed(client=stranger, body=TokenRefreshRequest(refresh=pair.refresh)), 200, TokenRefresh
)
assert tokens_verify.sync_detailed(client=stranger, body=TokenVerifyRequest(token=fresh.access)).status_code == 200
bad = expect(tokens_verify.sync_detailed(client=stranger, body=TokenVerifyRequest(token="no token")), 401, Error)
assert bad.code == "token_not_valid"
user = AuthenticatedClient(address, token=fresh.access)
unknown = tasks_list.sync_detailed(client=AuthenticatedClient(address, token="forged"))
assert expect(unknown, 401, Error).code == "token_not_valid"
assert unknown.headers["WWW-Authenticate"].startswith("Bearer")

# Create, once.
body = TaskRequest(title="Kitob o'qish", description="Python")
first = tasks_create.sync_detailed(client=user, body=body, idempotency_key="python-1")
again = tasks_create.sync_detailed(client=user, body=body, idempotency_key="python-1")
task = expect(first, 201, Task)
assert expect(again, 201, Task) == task
assert (first.headers.get("Idempotency-Replayed"), again.headers["Idempotency-Replayed"]) == (None, "true")
other = tasks_create.sync_detailed(client=user, body=TaskRequest(title="Boshqa"), idempotency_key="python-1")
assert expect(other, 422, Error).detail
assert "title" in expect(tasks_create.sync_detailed(client=user, body=TaskRequest(title=" ")), 400, FieldErrors)
long = TaskRequest(title="Uzun", description="a" * 2**20)
assert expect(tasks_create.sync_detailed(client=user, body=long), 413, Error).detail

# Read, change and delete, under conditions.
read = tasks_retrieve.sync_detailed(task.id, client=user)
etag = read.headers["ETag"]
assert expect(read, 200, Task) == task
assert etag == first.headers["ETag"]
assert tasks_retrieve.sync_detailed(task.id, client=user, if_none_match=etag).status_code == 304
completed = PatchedTaskRequest(completed=True)
changed = tasks_partial_update.sync_detailed(task.id, client=user, body=completed, if_match=etag)
assert expect(changed, 200, Task).completed
late = tasks_partial_update.sync_detailed(task.id, client=user, body=completed, if_match=etag)
assert expect(late, 412, Error).detail
assert expect(tasks_partial_update.sync_detailed(task.id, client=user, body=completed), 428, Error).detail
replacement = TaskRequest(title="Kitob o'qidim", completed=True)
replaced = tasks_update.sync_detailed(task.id, client=user, body=replacement, if_match=changed.headers["ETag"])
assert expect(replaced, 200, Task).version == 3
foreign = next(each for each in expect(tasks_list.sync_detailed(client=user), 200, PaginatedTaskList).results)
assert foreign.owner == "admin"
assert expect(tasks_destroy.sync_detailed(foreign.id, client=user, if_match="*"), 403, Error).detail
assert expect(tasks_retrieve.sync_detailed(2**62, client=user), 404, Error).detail

# Many at a time.
many = [TaskRequest(title=f"Ro'yxat {number}") for number in range(12)]
created = tasks_bulk_create.sync_detailed(client=user, body=many, idempotency_key="python-2")
assert created.status_code == 201
assert [each.title for each in created.parsed] == [each.title for each in many]
errors = expect(
    tasks_bulk_create.sync_detailed(client=user, body=[TaskRequest(title="Bir"), TaskRequest(title="")]),
    400,
    ErrorsOfMany,
)
assert "title" in errors["1"]
both = [TaskChangeRequest(id=each.id, completed=True, if_match="*") for each in created.parsed[:2]]
changes = tasks_bulk_update.sync_detailed(client=user, body=both, idempotency_key="python-3")
assert [(each.completed, each.version) for each in changes.parsed] == [(True, 2)] * 2
repeated = tasks_bulk_update.sync_detailed(client=user, body=both, idempotency_key="python-3")
assert (repeated.parsed, repeated.headers["Idempotency-Replayed"]) == (changes.parsed, "true")
both[1].if_match = '"1-0123456789abcdef"'
unmet = expect(tasks_bulk_update.sync_detailed(client=user, body=both), 412, ErrorsOfMany)
assert unmet["1"]["code"] == "precondition_failed"
named = [TaskReferenceRequest(id=each.id, if_match="*") for each in created.parsed]
strange = [*named, TaskReferenceRequest(id=foreign.id, if_match="*")]
assert "12" in expect(tasks_bulk_destroy.sync_detailed(client=user, body=strange), 403, ErrorsOfMany)
assert tasks_bulk_destroy.sync_detailed(client=user, body=named[:2]).status_code == 204
missing = expect(tasks_bulk_destroy.sync_detailed(client=user, body=named[:2]), 404, ErrorsOfMany)
assert missing.additional_keys == ["0", "1"]

# Lists: pages by number and by cursor, filters, search, order.
numbered = expect(tasks_list.sync_detailed(client=user, page=2, page_size=7), 200, PaginatedTaskList)
assert len(numbered.results) == 7
assert expect(tasks_list.sync_detailed(client=user, page=99), 404, Error).detail
seen: list[int] = []
cursor: dict[str, str] = {}
while True:
    by_cursor = tasks_list.sync_detailed(client=user, pagination=TasksListPagination.CURSOR, page_size=10, **cursor)
    page = expect(by_cursor, 200, PaginatedTaskList)
    seen += [each.id for each in page.results]
    if page.next_ is None:
        break
    cursor = {"cursor": cursor_of(page.next_)}
assert len(seen) == len(set(seen)) == numbered.count
own = expect(tasks_list.sync_detailed(client=user, owner_username="user", completed=True), 200, PaginatedTaskList)
assert [each.id for each in own.results] == [task.id]
found = expect(tasks_list.sync_detailed(client=user, search="o'qidim"), 200, PaginatedTaskList)
assert [each.id for each in found.results] == [task.id]
latest = expect(tasks_list.sync_detailed(client=user, ordering="-created_at"), 200, PaginatedTaskList)
assert [each.id for each in latest.results] == sorted(seen, reverse=True)[:5]
assert "ordering" in expect(tasks_list.sync_detailed(client=user, ordering="color"), 400, FieldErrors)

# Files.
lines = expect(tasks_export.sync_detailed(client=user, format_=TasksExportFormat.JSONL), 200, str).splitlines()
assert [Task.from_dict(json.loads(line)).id for line in lines] == seen
table = expect(
    tasks_export.sync_detailed(client=user, format_=TasksExportFormat.CSV, search="Ro'yxat", bom=True), 200, str
)
assert table.startswith("\ufeffid,title,")
assert len(table.splitlines()) == 1 + 10

# Events: of the log, of a task, as they come.
log = expect(activity_list.sync_detailed(client=user, page_size=5), 200, PaginatedActivityList)
assert [each.status for each in log.results] == [ActivityStatus.LOGGED] * 5
older = activity_list.sync_detailed(client=user, page_size=5, cursor=cursor_of(log.next_))
assert expect(older, 200, PaginatedActivityList).results[0].id < log.results[-1].id
deletions = activity_list.sync_detailed(client=user, event=ActivityListEvent.TASK_DELETED)
assert expect(deletions, 200, PaginatedActivityList).results == []
history = expect(tasks_activity_list.sync_detailed(task.id, client=user), 200, PaginatedActivityList).results
assert [each.version for each in history] == [3, 2, 1]
assert [each.event for each in history][-2:] == [ActivityEvent.TASK_UPDATED, ActivityEvent.TASK_CREATED]
assert history[1].changes["completed"] == [False, True]
assert expect(tasks_activity_list.sync_detailed(2**62, client=user), 404, Error).detail
wire = user.get_httpx_client()
with wire.stream("GET", "/activity/stream/", headers={"Last-Event-ID": "1"}) as stream:
    data = next(line for line in stream.iter_lines() if line.startswith("data: "))
assert Activity.from_dict(json.loads(data.removeprefix("data: "))).id == 2

# What no operation of the client can be answered with has the same shape.
for status, response in (
    (405, wire.put("/tasks/")),
    (406, wire.get("/tasks/", headers={"Accept": "text/plain"})),
    (415, wire.post("/tasks/", content="title", headers={"Content-Type": "text/plain"})),
):
    assert response.status_code == status
    assert Error.from_dict(response.json()).detail

# The end.
gone = tasks_destroy.sync_detailed(task.id, client=user, if_match=replaced.headers["ETag"])
assert (gone.status_code, gone.content) == (204, b"")
assert tokens_logout.sync_detailed(client=stranger, body=LogoutRequest(token=fresh.access)).status_code == 200
assert expect(tasks_list.sync_detailed(client=user), 401, Error).detail
last = expect(sign_in("user"), 200, TokenObtainPair).access
everywhere = LogoutEverywhereRequest(token=last)
assert tokens_logout_everywhere.sync_detailed(client=stranger, body=everywhere).status_code == 200
assert health_live.sync_detailed(client=stranger).status_code == 200
assert health_ready.sync_detailed(client=stranger).parsed.database == "ok"
print("All as described.")
