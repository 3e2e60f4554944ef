"""GET /tasks/{id}/activity/: every event of one task, whether or not a worker has logged it yet."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import serializers
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from actors.models import Activity, Event
from actors.outbox.context import Context, sent_by
from actors.outbox.models import OutboxMessage, State
from actors.outbox.testing import InlineWorker
from tasks.models import Task
from tests.unit.schema_client import SchemaCheckingClient

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]


@pytest.fixture
def inline_worker() -> InlineWorker:
    return InlineWorker()


@pytest.fixture
def with_versions(user1: User) -> Callable[[int], Task]:
    """Make a task and change it, until it has so many versions."""

    def make(count: int) -> Task:
        task = Task.objects.create(title="v1", owner=user1)
        for version in range(2, count + 1):
            task.title = f"v{version}"
            task.save()
        return task

    return make


WithVersions = Callable[[int], Task]


def address_of(task: Task | int) -> str:
    return f"/tasks/{task if isinstance(task, int) else task.pk}/activity/"


def before(version: Any, *, backwards: bool = False) -> str:
    """Return the cursor of the page with the versions before this one."""
    return urlsafe_b64encode(json.dumps([backwards, ["-version"], version]).encode()).decode().rstrip("=")


def after(version: int) -> str:
    return before(version, backwards=True)


def row_of(version: int) -> Any:
    return OutboxMessage.objects.filter(sequence=version)


def versions(page: Any) -> list[int]:
    assert page.status_code == 200
    return [event["version"] for event in page.json()["results"]]


def deliver(inline_worker: InlineWorker, *numbers: int) -> None:
    for number in numbers:
        assert inline_worker.deliver(row_of(number).get()) == "ack"


def test_a_client_that_is_not_signed_in_cannot_read_a_history(with_versions: WithVersions) -> None:
    for address in (address_of(with_versions(1)), address_of(999_999)):
        assert SchemaCheckingClient().get(address).status_code == 401


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_a_history_is_only_read(reader: SchemaCheckingClient, with_versions: WithVersions, method: str) -> None:
    assert getattr(reader, method)(address_of(with_versions(1)), {}, format="json").status_code == 405


@pytest.mark.parametrize("task_id", [0, 999_999, 2**63 - 1])
def test_a_task_that_never_was_has_no_history(reader: SchemaCheckingClient, task_id: int) -> None:
    for query in ("", "?event=task.created", f"?cursor={before(5)}"):
        answer = reader.get(f"{address_of(task_id)}{query}")
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not found."})


@pytest.mark.parametrize("task_id", ["abc", "-1", "9" * 19, "9" * 20, "9" * 400, "1.5", "%00", "½"])
def test_what_is_no_id_is_not_found(reader: SchemaCheckingClient, task_id: str) -> None:
    assert reader.get(f"/tasks/{task_id}/activity/").status_code == 404


def test_a_task_from_a_fixture_has_an_empty_history_until_it_is_changed(
    reader: SchemaCheckingClient, user1: User
) -> None:
    then = timezone.now()
    old = Task(pk=7, title="Eski vazifa", owner=user1, created_at=then, updated_at=then)
    for each in serializers.deserialize("json", serializers.serialize("json", [old])):
        each.save()

    answer = reader.get(address_of(7))
    assert (answer.status_code, answer.json()) == (200, {"next": None, "previous": None, "results": []})

    task = Task.objects.get(pk=7)
    task.completed = True
    task.save()
    assert versions(reader.get(address_of(7))) == [2]


def test_what_is_not_logged_yet_is_shown_as_it_will_be_logged(
    reader: SchemaCheckingClient, user1: User, inline_worker: InlineWorker
) -> None:
    with sent_by(Context(request_id="request", changed_by="user1", changed_by_id=user1.pk)):
        task = Task.objects.create(title="Bir", owner=user1)
    [pending] = reader.get(address_of(task)).json()["results"]
    row = OutboxMessage.objects.get()
    inline_worker.deliver_all()
    [logged] = reader.get(address_of(task)).json()["results"]

    assert (pending["id"], pending["status"], pending["state"], pending["logged_at"]) == (
        *(None, "pending", "pending"),
        None,
    )
    assert (logged["id"], logged["status"], logged["state"]) == (Activity.objects.get().pk, "logged", None)
    assert logged["logged_at"] is not None
    assert pending["message_id"] == row.message_id
    assert pending["changes"]["title"] == [None, "Bir"]
    assert (pending["changed_by"], pending["changed_by_id"]) == ("user1", user1.pk)
    later = {"id", "status", "state", "logged_at", "published_at"}
    assert {name: pending[name] for name in pending.keys() - later} == {
        name: logged[name] for name in logged.keys() - later
    }


def test_what_is_owed_and_what_is_logged_are_one_history_newest_first(
    reader: SchemaCheckingClient, with_versions: WithVersions, inline_worker: InlineWorker
) -> None:
    task = with_versions(7)
    with_versions(1)  # of which nothing is shown
    deliver_of = OutboxMessage.objects.filter(subject=f"task:{task.pk}")
    for version in (5, 1, 3):  # as RabbitMQ may bring them
        assert inline_worker.deliver(deliver_of.get(sequence=version)) == "ack"
    deliver_of.filter(sequence=2).mark_dead("throws", error="ValueError")
    deliver_of.filter(sequence=4).update(state=State.SCHEDULED, due_at=Now() + timedelta(hours=1))
    deliver_of.filter(sequence=6).update(state=State.PUBLISHED, published_at=Now())

    found = reader.get(address_of(task)).json()["results"]

    assert [(event["version"], event["status"], event["state"]) for event in found] == [
        (7, "pending", "pending"),
        (6, "pending", "published"),
        (5, "logged", None),
        (4, "pending", "scheduled"),
        (3, "logged", None),
        (2, "pending", "dead"),
        (1, "logged", None),
    ]
    assert [event["title"] for event in found] == [f"v{version}" for version in range(7, 0, -1)]
    assert [event["event"] for event in found] == ["task.updated"] * 6 + ["task.created"]
    assert {event["task_id"] for event in found} == {task.pk}


def test_what_rabbitmq_has_not_confirmed_is_not_called_published(
    reader: SchemaCheckingClient, with_versions: WithVersions
) -> None:
    task = with_versions(2)
    row_of(1).update(claimed_at=Now())
    row_of(2).update(claimed_at=Now(), published_at=Now(), state=State.PUBLISHED)
    confirmed, taken_up = reader.get(address_of(task)).json()["results"]
    assert taken_up["published_at"] is None
    assert confirmed["published_at"] is not None


def test_retries_are_counted_before_it_is_logged(reader: SchemaCheckingClient, with_versions: WithVersions) -> None:
    task = with_versions(1)
    row_of(1).update(attempt=3, state=State.SCHEDULED)
    assert reader.get(address_of(task)).json()["results"][0]["attempts"] == 4


def test_an_event_on_its_way_is_in_one_place_at_a_time(
    reader: SchemaCheckingClient, with_versions: WithVersions, inline_worker: InlineWorker
) -> None:
    task = with_versions(3)
    for version in (2, 3, 1):
        deliver(inline_worker, version)
        assert versions(reader.get(address_of(task))) == [3, 2, 1]


def test_a_history_outlives_its_task(
    reader: SchemaCheckingClient, with_versions: WithVersions, inline_worker: InlineWorker
) -> None:
    task = with_versions(2)
    address = address_of(task)
    task.delete()
    assert versions(reader.get(address)) == [3, 2, 1]
    inline_worker.deliver_all()
    page = reader.get(address)
    assert versions(page) == [3, 2, 1]
    deleted = page.json()["results"][0]
    assert (deleted["event"], deleted["changes"]["title"]) == ("task.deleted", ["v2", None])
    assert reader.get(f"{address}?event=task.other").status_code == 400
    assert versions(reader.get(f"{address}?changed_by=missing")) == []


def test_a_history_outlives_its_owner(reader: SchemaCheckingClient, with_versions: WithVersions, user1: User) -> None:
    task = with_versions(1)
    user1.delete()
    found = reader.get(address_of(task)).json()["results"]
    assert [(event["event"], event["owner"]) for event in found] == [
        ("task.deleted", "user1"),
        ("task.created", "user1"),
    ]


# Pages


@pytest.mark.parametrize("logged", [(), (1, 2, 3, 4, 5, 6, 7), (7, 6), (1, 2), (1, 3, 5, 7), (2, 4, 6)])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_pages_lead_through_everything_and_back(
    reader: SchemaCheckingClient,
    with_versions: WithVersions,
    inline_worker: InlineWorker,
    logged: tuple[int, ...],
    size: int,
) -> None:
    task = with_versions(7)
    deliver(inline_worker, *logged)

    pages, address = [], f"{address_of(task)}?page_size={size}"
    while address:
        pages.append(reader.get(address))
        address = pages[-1].json()["next"]
    back, address = [pages[-1]], pages[-1].json()["previous"]
    while address:
        back.append(reader.get(address))
        address = back[-1].json()["previous"]

    forth = list(map(versions, pages))
    assert [version for page in forth for version in page] == [7, 6, 5, 4, 3, 2, 1]
    assert all(len(page) == size for page in forth[:-1])
    assert list(map(versions, reversed(back))) == forth


def test_pages_stay_as_they_are_while_events_come_and_are_logged(
    reader: SchemaCheckingClient, with_versions: WithVersions, inline_worker: InlineWorker
) -> None:
    task = with_versions(6)
    seen = []
    address: str | None = f"{address_of(task)}?page_size=2"
    for number in range(3):
        assert address is not None
        page = reader.get(address)
        seen += versions(page)
        address = page.json()["next"]
        deliver(inline_worker, 6 - number, 1 + number)
        task.title = f"new {number}"
        task.save()
    assert seen == [6, 5, 4, 3, 2, 1]
    assert address is None

    newer = reader.get(reader.get(f"{address_of(task)}?page_size=2&cursor={before(7)}").json()["previous"])
    assert versions(newer) == [8, 7]
    assert versions(reader.get(newer.json()["previous"])) == [9]
    assert versions(reader.get(newer.json()["next"])) == [6, 5]


def test_versions_of_a_long_history_lead_on(reader: SchemaCheckingClient) -> None:
    for version in (2**31 - 1, 2**31 - 2):
        Activity.objects.create(task_id=1, version=version, event=Event.TASK_UPDATED, title="Bir", owner="user1")
    page = reader.get(f"{address_of(1)}?page_size=1")
    assert versions(page) == [2**31 - 1]
    assert versions(reader.get(page.json()["next"])) == [2**31 - 2]


def test_pages_keep_their_filters(
    reader: SchemaCheckingClient, with_versions: WithVersions, inline_worker: InlineWorker
) -> None:
    task = with_versions(5)
    deliver(inline_worker, 2, 5)
    seen, address = [], f"{address_of(task)}?page_size=2&event=task.updated"
    while address:
        page = reader.get(address)
        seen += versions(page)
        address = page.json()["next"]
    assert seen == [5, 4, 3, 2]


@pytest.mark.parametrize(
    "garbage", ["x", "lt-5", "\0", "٣", *map(before, (-1, 1.5, "1", None, True, 10**30, [1])), f" {before(1)}"]
)
def test_a_cursor_that_is_none_is_not_found(
    reader: SchemaCheckingClient, with_versions: WithVersions, garbage: str
) -> None:
    answer = reader.get(address_of(with_versions(1)), {"cursor": garbage})
    assert (answer.status_code, answer.json()) == (404, {"detail": "Invalid cursor"})


@pytest.mark.parametrize("bound", [*map(before, (0, 1)), *map(after, (2, 2**31, 2**63 - 1))])
def test_beyond_the_ends_there_is_an_empty_page(
    reader: SchemaCheckingClient, with_versions: WithVersions, bound: str
) -> None:
    answer = reader.get(address_of(with_versions(2)), {"cursor": bound})
    assert (answer.status_code, answer.json()) == (200, {"next": None, "previous": None, "results": []})


@pytest.mark.parametrize("size", ["0", "-1", "abc", "9" * 5_000])
def test_a_page_size_that_is_none_is_refused(
    reader: SchemaCheckingClient, with_versions: WithVersions, size: str
) -> None:
    answer = reader.get(address_of(with_versions(1)), {"page_size": size})
    assert (answer.status_code, list(answer.json())) == (400, ["page_size"])


# Filters


@pytest.mark.parametrize("logged", [(), (2, 3), (1, 2, 3, 4)])
@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"event": "task.created"}, [1]),
        ({"event": "task.updated"}, [3, 2]),
        ({"event": "task.deleted"}, [4]),
        ({"changed_by": "user1"}, [3, 2]),
        ({"changed_by": "system"}, [4, 1]),
        ({"changed_by": "missing"}, []),
        ({"since": 2}, [4, 3, 2]),
        ({"until": 3}, [2, 1]),
        ({"since": 2, "until": 4, "event": "task.updated", "changed_by": "user1"}, [3, 2]),
        ({"since": 3, "until": 3}, []),
    ],
)
def test_filters_apply_to_what_is_logged_and_to_what_is_not_alike(
    reader: SchemaCheckingClient,
    with_versions: WithVersions,
    inline_worker: InlineWorker,
    logged: tuple[int, ...],
    asked: dict[str, Any],
    found: list[int],
) -> None:
    task = with_versions(1)
    address = address_of(task)
    with sent_by(Context(changed_by="user1", changed_by_id=1)):
        task.title = "v2"
        task.save()
        task.title = "v3"
        task.save()
    with sent_by(Context(changed_by="system")):  # a user may be called so
        task.delete()
    noon = timezone.now().replace(microsecond=0)
    for version in range(1, 5):
        row_of(version).update(created_at=noon + timedelta(hours=version))
    deliver(inline_worker, *logged)
    query = {
        name: (noon + timedelta(hours=value)).isoformat() if name in {"since", "until"} else value
        for name, value in asked.items()
    }
    assert versions(reader.get(address, query)) == found


@pytest.mark.parametrize(
    ("name", "value"),
    [("event", "x"), ("event", "\0"), ("changed_by", "a\0"), ("since", "x"), ("until", "\0"), ("until", "9" * 30)],
)
def test_a_filter_that_means_nothing_is_refused(
    reader: SchemaCheckingClient, with_versions: WithVersions, name: str, value: str
) -> None:
    for address in (address_of(with_versions(1)), address_of(999_999)):
        answer = reader.get(address, {name: value})
        assert (answer.status_code, list(answer.json())) == (400, [name])


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("value", ["0001-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_times_at_the_ends_of_the_calendar_break_nothing(
    reader: SchemaCheckingClient, with_versions: WithVersions, name: str, value: str
) -> None:
    assert reader.get(address_of(with_versions(1)), {name: value}).status_code in {200, 400}


# What is not a message as we send it


EDITED_DETAILS: list[dict[str, Any]] = [
    *({"owner_id": "x"}, {"owner_id": {}}, {"owner_id": float("inf")}, {"owner_id": True}),
    *({"changes": 5}, {"changes": []}, {"changes": None}, {"changes": {"title": float("nan")}}),
    *({"changes": {"title": ["\ud800", None]}}, {"changes": {"\ud800": []}}, {"changes": {"title": 5}}),
    *({"version": "x"}, {"version": 99}, {"surprise": 1}),
]


def edited(**fields: Any) -> bytes:
    body: dict[str, Any] = json.loads(bytes(row_of(1).get().body))
    return json.dumps(body | fields).encode()


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xfe", b"{", b"null", b"[]", b"5", b"{}", b'{"args": 5}', b"[" * 100_000],
)
def test_an_undecodable_message_is_shown_as_far_as_its_row_allows(
    reader: SchemaCheckingClient, with_versions: WithVersions, body: bytes
) -> None:
    task = with_versions(2)
    row_of(1).update(body=body)
    answer = reader.get(address_of(task))
    assert versions(answer) == [2, 1]
    illegible = answer.json()["results"][1]
    assert (illegible["event"], illegible["task_id"], illegible["state"]) == ("task.created", task.pk, "pending")
    assert (illegible["title"], illegible["owner"], illegible["owner_id"], illegible["changes"]) == ("", "", None, {})


@pytest.mark.parametrize(
    "fields",
    [
        {"args": []},
        {"args": [1]},
        {"args": [None, None, None]},
        {"args": [1, {"a": 1}, ["b"]]},
        {"args": [1, "Bir", "user1", "details"]},
        {"args": [1, "Bir", "user1", {}, 5]},
        {"args": [1, "\ud800", "\0"]},
        {"args": "abcd"},
        {"kwargs": None},
        {"kwargs": 5},
        {"kwargs": []},
        {"kwargs": {"details": 5}},
        *({"kwargs": {"details": details}} for details in EDITED_DETAILS),
    ],
    ids=repr,
)
def test_an_edited_message_breaks_nothing(
    reader: SchemaCheckingClient, with_versions: WithVersions, fields: dict[str, Any]
) -> None:
    task = with_versions(2)
    row_of(1).update(body=edited(**fields))
    answer = reader.get(address_of(task))
    assert versions(answer) == [2, 1]
    assert answer.json()["results"][0]["title"] == "v2"
    event = answer.json()["results"][1]
    assert isinstance(event["title"], str)
    assert isinstance(event["owner"], str)
    assert isinstance(event["changes"], dict)
    assert event["owner_id"] is None or type(event["owner_id"]) is int
    assert all(isinstance(pair, list) for pair in event["changes"].values())


@pytest.mark.usefixtures("user1")
def test_messages_of_others_are_no_events(reader: SchemaCheckingClient, with_versions: WithVersions) -> None:
    task = with_versions(3)
    row_of(2).update(actor="somebody_elses")
    row_of(3).update(sequence=None)
    assert versions(reader.get(address_of(task))) == [1]


def test_two_messages_of_one_version_are_one_event(reader: SchemaCheckingClient, with_versions: WithVersions) -> None:
    task = with_versions(2)
    row_of(2).update(sequence=F("sequence") - 1)
    assert versions(reader.get(address_of(task))) == [1]


def test_a_browser_sees_a_page(
    reader: SchemaCheckingClient, with_versions: WithVersions, inline_worker: InlineWorker
) -> None:
    task = with_versions(2)
    deliver(inline_worker, 1)
    page = reader.get(address_of(task), HTTP_ACCEPT="text/html")
    assert page["Content-Type"] == "text/html; charset=utf-8"
    assert "task.updated" in page.content.decode()
