"""PostgreSQL's plans of lists: an index has the order under every filter, and a search uses its index first."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from actors.models import Activity
from actors.outbox.db.search import fold
from tasks.models import Task

ON_POSTGRESQL = [pytest.param("postgresql", marks=pytest.mark.integration)]
pytestmark = [pytest.mark.django_db, pytest.mark.parametrize("database", ON_POSTGRESQL, indirect=True)]

FILTERS = [
    *("", "completed=true", "owner=1", "owner=1&completed=true"),
    *(pytest.param(narrowed, marks=pytest.mark.heavy) for narrowed in ("completed=false", "owner_username=user1")),
]
OF_INDEXES = ["created_at", "-created_at", "completed", "-completed", "completed,created_at", "-completed,-created_at"]
ORDERINGS = [
    *OF_INDEXES,
    *("completed,-created_at", "-completed,created_at", "created_at,completed", "-created_at,completed"),
]


@pytest.fixture
def without(database: str) -> Iterator[Any]:
    """Keep PostgreSQL from the plans that it would prefer while a table is small."""

    def forbid(*ways: str) -> None:
        with connection.cursor() as cursor:
            for way in ways:
                cursor.execute(f"SET LOCAL enable_{way} = off")

    with transaction.atomic():
        yield forbid


def plan_of(statement: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}")
        return "\n".join(line for (line,) in cursor.fetchall())


def nodes(plan: str) -> list[str]:
    return re.findall(r"^ *(?:-> +)?(\w[\w ]*?)  \(cost", plan, re.MULTILINE)


def plans_of_page(client: APIClient, address: str) -> list[str]:
    """Return how each part of a page is read."""
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200
    return [plan_of(query["sql"]) for query in queries if '"tasks_task"."title"' in query["sql"]]


@pytest.mark.parametrize("kind", ["page", "cursor"])
@pytest.mark.parametrize("narrowed", FILTERS)
@pytest.mark.parametrize("ordering", ORDERINGS)
def test_no_list_is_sorted_or_read_whole(
    owner: APIClient, user1: User, without: Any, kind: str, narrowed: str, ordering: str
) -> None:
    Task.objects.bulk_create(Task(title=str(n), owner=user1, completed=n % 2 == 0) for n in range(8))
    narrowed = narrowed.replace("owner=1", f"owner={user1.pk}")
    address: Any = f"/tasks/?pagination={kind}&page_size=2&ordering={ordering}&{narrowed}"
    # While there are few tasks, which plan is the cheapest depends on what other tests have left in the table.
    without("seqscan", "sort", "bitmapscan", *(["incremental_sort"] if ordering in OF_INDEXES else []))

    while address:
        for plan in plans_of_page(owner, address):
            assert "Seq Scan on tasks_task" not in plan, plan
            assert "Sort" not in nodes(plan), plan
            # In the order of some columns of an index, and then, of tasks of one moment, of others: that is no harm.
            assert "Incremental Sort" not in nodes(plan) or re.search(r"Presorted Key: .*created_at", plan), plan
        address = owner.get(address).json()["next"]


@pytest.mark.parametrize("text", ["bozor", "bozor sut", "БОЗОР", "100%", "qo'ngʻiroq"])
def test_a_search_looks_into_an_index(owner: APIClient, user1: User, without: Any, text: str) -> None:
    Task.objects.create(title=text, owner=user1)
    without("seqscan", "indexscan")

    plans = plans_of_page(owner, f"/tasks/?search={text.replace('%', '%25')}")

    assert plans
    for plan in plans:
        assert "task_by_words" in plan, plan


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ("", "actors_activity_pkey"),
        ("event=task.created", "activity_by_event"),
        ("changed_by=user1", "activity_by_whom"),
        ("since=2026-01-01T00:00:00Z", "activity_by_time"),
        ("until=2126-01-01T00:00:00Z", "activity_by_time"),
        ("event=task.created&until=2126-01-01T00:00:00Z", "activity_by_event_and_time"),
        ("changed_by=user1&since=2026-01-01T00:00:00Z&until=2126-01-01T00:00:00Z", "activity_by_whom_and_time"),
    ],
)
def test_the_log_is_read_in_the_order_of_an_index(owner: APIClient, without: Any, asked: str, index: str) -> None:
    Activity.objects.bulk_create(
        Activity(task_id=n, event="task.created", title="Bir", owner="user1", changed_by="user1") for n in range(1, 4)
    )
    without("seqscan", "sort", "bitmapscan")
    address: Any = f"/activity/?page_size=1&{asked}"

    while address:
        with CaptureQueriesContext(connection) as queries:
            page = owner.get(address).json()
        plan = plan_of(queries[-1]["sql"])
        assert f"using {index} " in plan, plan
        assert "Sort" not in plan, plan
        address = page["next"]


# What makes a search differ from a comparison: wildcards, escapes, cases, letters that are no letters, short words.
TEXTS = st.text(alphabet="ab B%_\\'\"ЎўЯяʻ‘,1ıİßiςσΣ[^*?", max_size=6)


@given(titles=st.lists(TEXTS.filter(str.strip), min_size=1, max_size=8), wanted=TEXTS)
@example(titles=["Kitob oʻqish", "KITOB OʻQISH", "kitob o'qish"], wanted="oʻq")
@example(titles=["100% a", "100 a", "100%% a"], wanted="0% a")
@example(titles=["a_b c", "aab c"], wanted="a_b")
@example(titles=["a\\b", "ab"], wanted="a\\b")
@example(titles=["ЎТКАН", "ўткан"], wanted="Ўтк")
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_an_index_finds_what_looking_at_every_task_finds(
    user1: User, without: Any, titles: list[str], wanted: str
) -> None:
    with transaction.atomic():
        Task.objects.bulk_create(Task(title=title, description=title[::-1], owner=user1) for title in titles)
        found = Task.objects.filter(title__finds=wanted) | Task.objects.filter(description__finds=wanted)
        by_looking = read_without(without, "bitmapscan", found)
        by_index = read_without(without, "seqscan", found)
        transaction.set_rollback(True)
    assert by_index == by_looking
    assert by_index == [title for title in titles if fold(wanted) in fold(title) or fold(wanted) in fold(title[::-1])]


def read_without(without: Any, way: str, tasks: QuerySet[Task]) -> list[str]:
    with transaction.atomic():
        without(way)
        found = list(tasks.order_by("pk").values_list("title", flat=True))
        transaction.set_rollback(True)  # and have it back
    return found
