"""Rows and hand-written representations: exactly what DRF's serializer makes of the same tasks."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F, Q, QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tasks.listing import compiled
from tasks.listing.compiled import NAMES, read
from tasks.models import Task
from tasks.serializers import DeclaredTaskSerializer, TaskSerializer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("database")]

MOMENTS = st.integers(-(10**9), 4 * 10**9).map(lambda second: datetime.fromtimestamp(second, UTC))


@pytest.fixture
def tasks(user1: User, user2: User) -> list[Task]:
    owners = (user1, user2, user2)
    return Task.objects.bulk_create(
        [Task(title=f"Vazifa {n}", completed=n % 2 == 0, owner=owners[n % 3]) for n in range(12)]
    )


def declared(tasks: Any) -> list[dict[str, Any]]:
    return [dict(DeclaredTaskSerializer(task).data) for task in tasks]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tashkent", "America/St_Johns", "Europe/London"])
@given(created=MOMENTS, micro=st.sampled_from([0, 1, 999_999]), title=st.text(min_size=1), completed=st.booleans())
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_the_hand_written_representation_is_drfs(
    zone: str, created: datetime, micro: int, title: str, completed: bool
) -> None:
    moment = created.replace(microsecond=micro)
    task = Task(
        id=7, title=title, completed=completed, owner=User(id=3, username="user1"), created_at=moment, updated_at=moment
    )
    with timezone.override(zone):
        assert dict(TaskSerializer(task).data) == dict(DeclaredTaskSerializer(task).data)
        assert list(TaskSerializer(task).data) == list(NAMES) == list(DeclaredTaskSerializer.Meta.fields)


@pytest.mark.parametrize("order", [("created_at", "id"), ("-created_at", "-id"), ("completed", "id"), ("-completed",)])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tashkent"])
def test_rows_are_what_the_serializer_makes_of_tasks(
    tasks: list[Task], user2: User, order: tuple[str, ...], zone: str
) -> None:
    Task.objects.filter(pk=tasks[3].pk).update(created_at=timezone.now() - timedelta(days=400))
    everything = Task.objects.select_related("owner").order_by(*order, "id")
    lists = [
        everything,
        everything.filter(completed=True),
        everything.filter(completed=False, owner=user2.pk),
        everything.filter(owner__username="user1"),
        everything.filter(owner__username="user1").filter(owner=user2.pk),
        everything.filter(pk=tasks[5].pk),
        everything.filter(owner=2**31),
    ]
    with timezone.override(zone):
        # Twice: by statements that are compiled now, and by what was compiled.
        for chosen in lists * 2:
            for start, stop in ((0, 5), (3, 4), (5, 100), (50, 60)):
                assert read(chosen, start, stop) == declared(chosen[start:stop])


@pytest.mark.parametrize(
    "narrow",
    [
        lambda tasks: tasks.filter(Q(title__icontains="1") | Q(description__icontains="1")),
        lambda tasks: tasks.exclude(completed=True),
        lambda tasks: tasks.filter(title=F("title")),
        lambda tasks: tasks.filter(completed=True).distinct(),
        lambda tasks: tasks.filter(pk__in=[1, 2, 3]),
        lambda tasks: tasks.none(),
    ],
)
def test_what_is_more_than_equalities_is_read_as_well(tasks: list[Task], narrow: Any) -> None:
    chosen: QuerySet[Task] = narrow(Task.objects.select_related("owner")).order_by("created_at", "id")

    for _ in range(2):
        assert read(chosen, 0, 5) == declared(chosen[0:5])


@pytest.mark.parametrize("pk", [2**31, 2**63 - 1, 2**63, 10**30])
def test_an_id_beyond_all_ids_finds_nothing(tasks: list[Task], pk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_statements", {})
    everything = Task.objects.select_related("owner").order_by("id")

    assert [read(everything.filter(pk=each), 0, 1) == [] for each in (pk, tasks[0].pk, pk)] == [True, False, True]


def test_values_are_no_part_of_a_statement(tasks: list[Task], user1: User, user2: User) -> None:
    before = dict(compiled._statements)
    for owner in (user1, user2):
        for completed in (True, False):
            for start in range(3):
                read(Task.objects.filter(owner=owner.pk, completed=completed).order_by("id"), start, start + 2)

    # Two, because a boolean is no parameter; on SQLite none, where statements are compiled each time.
    assert len(compiled._statements.keys() - before.keys()) <= 2


def test_a_page_is_one_query(tasks: list[Task]) -> None:
    chosen = Task.objects.select_related("owner").order_by("created_at", "id")

    with CaptureQueriesContext(connection) as queries:
        read(chosen, 0, 5)

    assert len(queries) == 1
