"""GET /activity/: the whole log, newest first, to every signed-in user."""

from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from actors.models import Activity, Event
from actors.outbox.testing import InlineWorker
from tasks.models import Task
from tests.unit.schema_client import SchemaCheckingClient, openapi

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

LIST = "/activity/"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def cursor(querystring: str) -> str:
    return b64encode(querystring.encode()).decode()


@pytest.fixture
def log() -> Callable[..., Activity]:
    """Log the next event of a task, an hour after the last."""

    def add(task_id: int = 1, event: Event = Event.TASK_UPDATED, **fields: Any) -> Activity:
        version = Activity.objects.filter(task_id=task_id).count() + 1
        happened = NOON + timedelta(hours=Activity.objects.count())
        values = {"title": "Bir", "owner": "user1", "version": version, "occurred_at": happened, **fields}
        return Activity.objects.create(task_id=task_id, event=event, **values)

    return add


Log = Callable[..., Activity]


def ids(page: Any) -> list[int]:
    return [event["id"] for event in page.json()["results"]]


def walk(client: SchemaCheckingClient, address: str, side: str = "next") -> list[Any]:
    """Return the pages from an address on, to the last."""
    pages = []
    while address:
        pages.append(client.get(address))
        assert pages[-1].status_code == 200
        address = pages[-1].json()[side]
    return pages


def test_a_client_that_is_not_signed_in_cannot_read_the_log() -> None:
    answer = SchemaCheckingClient().get(LIST)
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, 'Bearer realm="api"')


def test_an_empty_log_is_an_empty_page(reader: SchemaCheckingClient) -> None:
    assert reader.get(LIST).json() == {"next": None, "previous": None, "results": []}


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_the_log_is_only_read(reader: SchemaCheckingClient, log: Log, method: str) -> None:
    log()
    assert getattr(reader, method)(LIST, {}, format="json").status_code == 405
    assert Activity.objects.count() == 1


def test_what_workers_log_of_any_user_s_tasks_is_read_newest_first(reader: SchemaCheckingClient, user1: User) -> None:
    task = Task.objects.create(title="Bir", owner=user1)
    task.completed = True
    task.save()
    InlineWorker().deliver_all()

    updated, created = reader.get(LIST).json()["results"]

    assert list(updated) == list(openapi()["components"]["schemas"]["Activity"]["properties"])
    assert (created["event"], created["version"], updated["event"], updated["version"]) == (
        *("task.created", 1),
        *("task.updated", 2),
    )
    assert {name: updated[name] for name in ("task_id", "title", "owner", "owner_id", "changed_by", "changes")} == {
        "task_id": task.pk,
        "title": "Bir",
        "owner": "user1",
        "owner_id": user1.pk,
        "changed_by": "system",
        "changes": {"completed": [False, True]},
    }
    assert (updated["status"], updated["state"], updated["attempts"]) == ("logged", None, 1)
    assert updated["occurred_at"] <= updated["logged_at"]


@pytest.mark.parametrize("changes", [{"title": 1}, {"title": "Bir"}, {"title": None}, ["title"], "title", 1])
def test_changes_that_an_operator_got_wrong_keep_no_event_from_being_read(
    client2: APIClient, log: Log, changes: Any
) -> None:
    log(changes=changes)
    assert [event["changes"] for event in client2.get(LIST).json()["results"]] == [changes]


def test_a_browser_sees_a_page(reader: SchemaCheckingClient, log: Log) -> None:
    log(title="<b>")
    page = reader.get(LIST, HTTP_ACCEPT="text/html").content.decode()
    assert "task.updated" in page
    assert "<b>&lt;" not in page
    assert "&lt;b&gt;" in page


# Filters


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [3, 2, 1, 0]),
        ({"task": 1}, [2, 0]),
        ({"task": 2**63 - 1}, []),
        ({"event": "task.created"}, [1, 0]),
        ({"event": "task.deleted"}, [3]),
        ({"changed_by": "user1"}, [2, 1]),
        ({"changed_by": "system"}, [0]),
        ({"changed_by": "USER1"}, []),
        ({"changed_by": "'\"%_"}, []),
        ({"since": "2026-01-01T14:00:00Z"}, [3, 2]),
        ({"since": "2026-01-01T19:00:00+05:00"}, [3, 2]),
        ({"until": "2026-01-01T14:00:00Z"}, [1, 0]),
        ({"since": "2026-01-01T13:00:00Z", "until": "2026-01-01T15:00:00Z"}, [2, 1]),
        ({"since": "2026-01-01T15:00:00Z", "until": "2026-01-01T13:00:00Z"}, []),
        ({"task": 1, "event": "task.updated", "changed_by": "user1"}, [2]),
    ],
)
def test_the_log_is_filtered(reader: SchemaCheckingClient, log: Log, asked: dict[str, Any], found: list[int]) -> None:
    rows = [
        log(1, Event.TASK_CREATED),
        log(2, Event.TASK_CREATED, changed_by="user1"),
        log(1, Event.TASK_UPDATED, changed_by="user1"),
        log(2, Event.TASK_DELETED, changed_by="user2"),
    ]
    answer = reader.get(LIST, asked)
    assert (answer.status_code, ids(answer)) == (200, [rows[index].pk for index in found])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("task", value) for value in ("abc", "0", "-1", "1.5", str(2**63), "9" * 30, "9" * 5_000, "\0", "1,2", "½")),
        *(("event", value) for value in ("created", "task.other", "TASK.CREATED", "\0", "task.created\0")),
        *(("changed_by", value) for value in ("\0", "user1\0")),
        *((name, value) for name in ("since", "until") for value in ("x", "\0", "2026-13-01T00:00:00Z", "9" * 30)),
    ],
)
def test_a_filter_that_means_nothing_is_refused(reader: SchemaCheckingClient, name: str, value: str) -> None:
    answer = reader.get(LIST, {name: value})
    assert (answer.status_code, list(answer.json())) == (400, [name])


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize(
    "value",
    [
        *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00", "0001-01-01T00:00:00+14:00"),
        *("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59", "9999-12-31T23:59:59-14:00"),
    ],
)
def test_times_at_the_ends_of_the_calendar_break_nothing(
    reader: SchemaCheckingClient, log: Log, name: str, value: str
) -> None:
    log()
    assert reader.get(LIST, {name: value}).status_code in {200, 400}


# Pages


def test_a_page_has_twenty_events_and_up_to_a_hundred_if_asked(reader: SchemaCheckingClient) -> None:
    Activity.objects.bulk_create(
        Activity(task_id=1, version=version, event=Event.TASK_UPDATED, title="Bir", owner="user1")
        for version in range(1, 121)
    )
    for asked, size in ((None, 20), ("1", 1), ("007", 7), ("100", 100), ("101", 100), ("9" * 18, 100)):
        assert len(ids(reader.get(LIST, {"page_size": asked} if asked else {}))) == size


@pytest.mark.parametrize("size", ["0", "-1", "abc", "1.5", "", " 5", "5\0", "9" * 5_000, "٣"])
def test_a_page_size_that_is_none_is_refused(reader: SchemaCheckingClient, size: str) -> None:
    answer = reader.get(LIST, {"page_size": size})
    assert (answer.status_code, list(answer.json())) == (400, ["page_size"])


def test_pages_stay_as_they_are_while_events_come(reader: SchemaCheckingClient, log: Log) -> None:
    rows = [log().pk for _ in range(7)]
    seen, address, pages = [], f"{LIST}?page_size=2", 0
    while address:
        page = reader.get(address)
        seen += ids(page)
        address, pages = page.json()["next"], pages + 1
        log()
    assert seen == rows[::-1]
    assert pages == 4


def test_pages_lead_back_to_what_came_meanwhile(reader: SchemaCheckingClient, log: Log) -> None:
    for _ in range(6):
        log()
    last = walk(reader, f"{LIST}?page_size=2")[-1]
    for _ in range(3):
        log()

    back = walk(reader, last.json()["previous"], "previous")

    everything = list(Activity.objects.order_by("-pk").values_list("pk", flat=True))
    seen = [row_id for page in reversed(back) for row_id in ids(page)] + ids(last)
    assert seen == everything


def test_pages_keep_their_filters(reader: SchemaCheckingClient, log: Log) -> None:
    wanted = [log(1 + number % 2).pk for number in range(8)][::2]
    pages = walk(reader, f"{LIST}?page_size=2&task=1")
    assert [row_id for page in pages for row_id in ids(page)] == wanted[::-1]


@pytest.mark.parametrize(
    "garbage",
    [
        *("x", "!!!", "ў", "\0", "====", "a" * 5_000, "cD0", "lt-5"),
        *map(
            cursor,
            [
                *("p=abc", f"p={'9' * 30}", f"p={'9' * 5_000}", "p=", "p=\0", "p=1.5", "p=-1", "p=ў", "p=1_0", "p= 1"),
                *("o=-1", "o=x", f"o={'9' * 30}", f"o={'9' * 5_000}", "r=x", "r=", f"r={'9' * 5_000}"),
                *("p=1&o=-1", "p=1&r=x", "p=1&o=x", "o=5", "r=1", "x", "p"),
            ],
        ),
        b64encode(b"\xff\xfe").decode(),
    ],
)
@pytest.mark.usefixtures("user1")
def test_a_cursor_that_is_none_is_not_found(reader: SchemaCheckingClient, log: Log, garbage: str) -> None:
    log()
    for address in (f"{LIST}?cursor={quote(garbage)}", f"{LIST}?page_size=1&task=1&cursor={quote(garbage)}"):
        answer = reader.get(address)
        assert (answer.status_code, answer.json()) == (404, {"detail": "Invalid cursor"})
