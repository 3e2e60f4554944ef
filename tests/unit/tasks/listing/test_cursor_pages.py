"""Pages of tasks by cursor, and numbered ones beside them: every task once, in any order, from either end."""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from tasks.listing import offset_window
from tasks.models import Task

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("database")]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LIST = "/tasks/?pagination=cursor"
ORDERINGS = [
    *("", "created_at", "-created_at", "completed", "-completed", "completed,created_at", "-completed,-created_at"),
    *("completed,-created_at", "-completed,created_at", "created_at,completed", "created_at,-completed"),
    *("-created_at,completed", "-created_at,-completed", "completed,completed,-completed"),
]
# Moments that differ by nothing, by a microsecond, and by a day; as they come, and not in the order of ids.
TASKS = st.lists(
    st.tuples(st.sampled_from([0, 0, 1, 86_400_000_000, -1]), st.booleans(), st.integers(0, 1)), max_size=14
)
FILTERS = st.sampled_from(["", "completed=true", "completed=false", "owner=", "owner_username=user2", "search=aaa"])

Asked = tuple[str, str, int]
ASKED = st.tuples(st.sampled_from(ORDERINGS), FILTERS, st.integers(1, 5))
lightly = hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=80
)


@pytest.fixture
def make(user1: User, user2: User) -> Callable[[list[Any]], None]:
    """Have these tasks and no others, some with an a in their title."""

    def tasks(wanted: list[Any]) -> None:
        Task.objects.all()._raw_delete(Task.objects.db)
        Task.objects.bulk_create(
            Task(title="aaa" if n % 3 else "b", completed=completed, owner=(user1, user2)[whose])
            for n, (_moment, completed, whose) in enumerate(wanted)
        )
        with connection.cursor() as cursor:
            for task, (moment, _completed, _whose) in zip(Task.objects.order_by("pk"), wanted, strict=True):
                value = connection.ops.adapt_datetimefield_value(NOON + timedelta(microseconds=moment))
                cursor.execute("UPDATE tasks_task SET created_at = %s WHERE id = %s", [value, task.pk])

    return tasks


def expected(ordering: str, narrowed: str, user1: User) -> list[int]:
    """Return the ids in the order asked for, by sorting in Python."""
    tasks = [
        task for task in Task.objects.select_related("owner").order_by("pk") if is_asked_for(task, narrowed, user1)
    ]
    names = [name for name in (ordering or "created_at").split(",") if name]
    tasks.sort(key=lambda task: task.pk, reverse=names[0].startswith("-"))
    for name in reversed(names):
        tasks.sort(key=lambda task: getattr(task, name.lstrip("-")), reverse=name.startswith("-"))
    return [task.pk for task in tasks]


def is_asked_for(task: Task, narrowed: str, user1: User) -> bool:
    return {
        "": True,
        "completed=true": task.completed,
        "completed=false": not task.completed,
        "owner=": task.owner == user1,
        "owner_username=user2": task.owner != user1,
        "search=aaa": task.title == "aaa",
    }[narrowed]


def address(kind: str, asked: Asked, user1: User) -> str:
    ordering, narrowed, size = asked
    narrowed = f"owner={user1.pk}" if narrowed == "owner=" else narrowed
    ordered = ordering and f"ordering={ordering}"
    return "/tasks/?" + "&".join(filter(None, [f"pagination={kind}", f"page_size={size}", ordered, narrowed]))


def walk(client: APIClient, start: str | None, side: str = "next") -> Iterator[Any]:
    while start:
        response = client.get(start)
        assert response.status_code == 200, response.content
        yield response.json()
        start = response.json()[side]


def ids(page: Any) -> list[int]:
    return [task["id"] for task in page["results"]]


@given(wanted=TASKS, asked=ASKED)
@lightly
def test_each_task_is_on_one_page_there_and_back(
    owner: APIClient, make: Callable[[list[Any]], None], user1: User, wanted: list[Any], asked: Asked
) -> None:
    make(wanted)
    there = list(walk(owner, address("cursor", asked, user1)))

    everything = expected(asked[0], asked[1], user1)
    assert [pk for page in there for pk in ids(page)] == everything
    assert all(len(page["results"]) == asked[2] for page in there[:-1])
    assert list(there[0]) == ["next", "previous", "results"]
    assert (there[0]["previous"], there[-1]["next"]) == (None, None)

    back = list(walk(owner, there[-1]["previous"], "previous"))
    assert [pk for page in back[::-1] for pk in ids(page)] == everything[: len(everything) - len(there[-1]["results"])]


@given(wanted=TASKS, asked=ASKED, near=st.integers(0, 3))
@lightly
def test_a_numbered_page_is_read_from_whichever_end_and_is_the_same(
    owner: APIClient,
    make: Callable[[list[Any]], None],
    user1: User,
    wanted: list[Any],
    asked: Asked,
    near: int,
) -> None:
    make(wanted)
    before, offset_window.NEAR = offset_window.NEAR, near
    try:
        pages = list(walk(owner, address("page", asked, user1)))
    finally:
        offset_window.NEAR = before

    everything = expected(asked[0], asked[1], user1)
    assert [pk for page in pages for pk in ids(page)] == everything
    assert {page["count"] for page in pages} == {len(everything)}


@given(wanted=TASKS, asked=ASKED, changes=st.lists(st.tuples(st.integers(0, 13), st.booleans()), max_size=14))
@lightly
def test_what_stays_is_seen_once_whatever_comes_and_goes(
    owner: APIClient,
    make: Callable[[list[Any]], None],
    user1: User,
    wanted: list[Any],
    asked: Asked,
    changes: list[Any],
) -> None:
    make(wanted)
    before = expected(asked[0], asked[1], user1)
    pks = list(Task.objects.order_by("pk").values_list("pk", flat=True))
    seen, gone, changing = [], set(), iter(changes)
    for page in walk(owner, address("cursor", asked, user1)):
        seen += ids(page)
        for number, completed in islice(changing, 2):
            Task.objects.create(title="a", completed=completed, owner=user1)
            if number < len(pks):
                gone.add(pks[number])
                Task.objects.filter(pk=pks[number]).delete()

    assert len(seen) == len(set(seen))
    assert [pk for pk in seen if pk in before and pk not in gone] == [pk for pk in before if pk not in gone]


def test_links_keep_what_was_asked_for(owner: APIClient, user1: User) -> None:
    Task.objects.bulk_create(Task(title="a", owner=user1) for _ in range(3))
    page = owner.get(f"{LIST}&page_size=2&completed=false").json()
    for name in ("pagination=cursor", "page_size=2", "completed=false", "cursor="):
        assert name in page["next"]


def test_pages_have_five_tasks_and_at_most_a_hundred(owner: APIClient, user1: User) -> None:
    Task.objects.bulk_create(Task(title="a", owner=user1) for _ in range(101))
    assert len(ids(owner.get(LIST).json())) == 5
    assert len(ids(owner.get(f"{LIST}&page_size=1000").json())) == 100
    assert owner.get(f"{LIST}&page_size=0").json() == {"page_size": ["Enter a whole number from 1 to 100."]}


def test_nothing_is_counted(owner: APIClient, task: Task) -> None:
    with CaptureQueriesContext(connection) as queries:
        owner.get(LIST)
    assert len(queries) == 1


@pytest.mark.parametrize("asked", [{}, {"pagination": "page"}])
def test_pages_are_numbered_unless_cursors_are_asked_for(owner: APIClient, task: Task, asked: dict[str, str]) -> None:
    assert owner.get("/tasks/", asked).json()["count"] == 1


def test_what_pages_of_the_other_kind_have_is_refused(owner: APIClient, user1: User) -> None:
    Task.objects.bulk_create(Task(title="a", owner=user1) for _ in range(7))
    cursor = parse_qs(urlsplit(owner.get(LIST).json()["next"]).query)["cursor"][0]

    for numbered in ({}, {"pagination": "page"}):
        answer = owner.get("/tasks/", {"cursor": cursor} | numbered)
        assert answer.status_code == 400
        assert answer.json() == {"cursor": ["Add pagination=cursor: numbered pages have no cursors."]}
    answer = owner.get(f"{LIST}&page=2")
    assert answer.status_code == 400
    assert answer.json() == {"page": ["Pages with cursors have no numbers: follow next and previous."]}


@pytest.mark.parametrize("kind", ["cursors", "CURSOR", "offset", "page ", "\0"])
def test_a_kind_of_pages_that_there_is_not_is_refused(owner: APIClient, kind: str) -> None:
    response = owner.get("/tasks/", {"pagination": kind})
    assert (response.status_code, response.json()) == (400, {"pagination": ["Choose page or cursor."]})


def test_a_browser_sees_pages_of_either_kind(owner: APIClient, user1: User) -> None:
    Task.objects.bulk_create(Task(title="a", owner=user1) for _ in range(7))
    for address_of_page in (LIST, "/tasks/"):
        page = owner.get(address_of_page, HTTP_ACCEPT="text/html")
        assert page.status_code == 200
        assert ("cursor=" in page.content.decode().replace("pagination=cursor", "")) == (address_of_page == LIST)


def spelt(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


NOW = '"2026-01-01T12:00:00+00:00"'
IN_ORDER = '["created_at","id"]'


def test_a_well_formed_cursor_of_the_clients_own_is_taken(owner: APIClient, task: Task) -> None:
    for made_up in (f"[false,{IN_ORDER},{NOW},5]", f'[false,{IN_ORDER},"0001-01-01T00:00:00+00:00",0]'):
        assert ids(owner.get(f"{LIST}&cursor={spelt(made_up)}").json()) == [task.pk]
    late = f'[true,{IN_ORDER},"9999-12-31T23:59:59.999999+00:00",{2**63 - 1}]'
    assert ids(owner.get(f"{LIST}&cursor={spelt(late)}").json()) == [task.pk]


@pytest.mark.parametrize(
    "garbage",
    [
        *("x", "!!!", "ў", "\0", "====", "a" * 5_000, "cD0", "lt-5"),
        *map(
            spelt,
            [
                *("1", "null", "{}", "[]", "[[[[", "NaN", '"x"', "[false]", f"[false,{IN_ORDER}]", "\0"),
                *(f"[false,{IN_ORDER},{NOW}]", f"[false,{IN_ORDER},{NOW},5,5]", f"[0,{IN_ORDER},{NOW},5]"),
                *(f"[false,{IN_ORDER},{NOW},{value}]" for value in ("true", '"5"', "-1", "5.0", "NaN", "null", 2**63)),
                *(f"[false,{IN_ORDER},{value},5]" for value in ('"x"', "1", "true", "null", '"2026-01-01"', "[]")),
                *(
                    f"[false,{IN_ORDER},{value},5]"
                    for value in ('"2026-01-01T12:00:00"', '"2026-01-01T12:00:00+05:00"')
                ),
                f'[false,["-created_at","-id"],{NOW},5]',
                f'[false,["id","created_at"],5,{NOW}]',
                '[false,["owner__password"],5]',
                "[" * 200 + "]" * 200,
            ],
        ),
        urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
)
def test_a_cursor_that_is_none_is_not_found(owner: APIClient, task: Task, garbage: str) -> None:
    response = owner.get("/tasks/", {"pagination": "cursor", "cursor": garbage})
    assert (response.status_code, response.json()) == (404, {"detail": "Invalid cursor"})


@pytest.mark.parametrize("other", [ordering for ordering in ORDERINGS if ordering not in {"", "created_at"}])
def test_a_cursor_of_one_order_is_not_found_in_another(owner: APIClient, user1: User, other: str) -> None:
    Task.objects.bulk_create(Task(title="a", owner=user1) for _ in range(7))
    following = owner.get(LIST).json()["next"]
    assert owner.get(f"{following}&ordering=created_at").status_code == 200
    assert owner.get(f"{following}&ordering={other}").status_code == 404
