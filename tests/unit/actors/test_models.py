"""The activity log is append-only, and can be pruned only from its beginning."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from actors import retention
from actors.models import Activity, ActivityHorizon, AppendOnly, Event

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

NOW = timezone.now()
DELETE = "DELETE FROM actors_activity"
UPDATE = "UPDATE actors_activity SET title = 'Boshqa'"


def event(version: int = 1, **fields: Any) -> Activity:
    return Activity(task_id=1, event=Event.TASK_CREATED, title="Bir", owner="user1", version=version, **fields)


@pytest.fixture
def logged() -> Activity:
    row = event()
    row.save()
    return row


@pytest.fixture
def days(database: str) -> list[Activity]:
    """Events of four days, the oldest first."""
    return Activity.objects.bulk_create(event(n, occurred_at=NOW - timedelta(days=5 - n)) for n in range(1, 5))


@pytest.fixture
def on_postgresql(database: str) -> None:
    if database != "postgresql":
        pytest.skip("SQLite's users own their file")


def execute(statement: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        count: int = cursor.rowcount
    return count


def change(row: Activity) -> Activity:
    row.title = "Boshqa"
    return row


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param(lambda row: change(row).save(), id="save"),
        pytest.param(lambda row: change(row).save(update_fields=["title"]), id="save some fields"),
        pytest.param(lambda row: change(row).save(force_update=True), id="save by force"),
        pytest.param(lambda row: row.delete(), id="delete"),
        pytest.param(lambda row: Activity.objects.update(title="Boshqa"), id="update all"),
        pytest.param(lambda row: Activity.objects.filter(pk=row.pk).update(title="Boshqa"), id="update one"),
        pytest.param(lambda row: Activity.objects.all().delete(), id="delete all"),
        pytest.param(lambda row: Activity.objects.filter(pk=row.pk).delete(), id="delete one"),
        pytest.param(lambda row: Activity.objects.bulk_update([change(row)], ["title"]), id="bulk update"),
        pytest.param(
            lambda row: Activity.objects.bulk_create(
                [event(message_id="a")], update_conflicts=True, update_fields=["title"], unique_fields=["message_id"]
            ),
            id="bulk create over what is there",
        ),
        pytest.param(
            lambda row: Activity.objects.bulk_create([event()], None, False, True, ["title"], ["task_id", "version"]),
            id="bulk create over what is there, by positional arguments",
        ),
        pytest.param(
            lambda row: Activity.objects.update_or_create({"title": "Boshqa"}, pk=row.pk), id="update or create"
        ),
        pytest.param(lambda row: Activity._base_manager.update(title="Boshqa"), id="update by Django itself"),
        pytest.param(lambda row: Activity._base_manager.all()._raw_delete(None), id="delete by Django itself"),
    ],
)
def test_what_is_logged_stays_as_it_is(logged: Activity, attempt: Callable[[Activity], Any]) -> None:
    before = Activity.objects.values().get()
    with pytest.raises(AppendOnly):
        attempt(logged)
    assert Activity.objects.values().get() == before


def test_rows_are_added_one_by_one_and_many_at_once(logged: Activity) -> None:
    Activity.objects.create(task_id=2, event=Event.TASK_CREATED, title="Ikki", owner="user1")
    assert len(Activity.objects.bulk_create([event(2), event(3)], batch_size=1)) == 2
    Activity.objects.bulk_create([event(3), event(4)], ignore_conflicts=True)
    assert list(Activity.objects.filter(task_id=1).order_by("version").values_list("version", flat=True)) == [
        1,
        2,
        3,
        4,
    ]


@pytest.mark.parametrize("same", [{"version": 1}, {"version": 2, "message_id": "a"}, {"version": 2, "pk": 7}])
def test_nothing_is_logged_twice_or_over_something_else(database: str, same: dict[str, Any]) -> None:
    event(message_id="a", pk=7).save()
    with pytest.raises(IntegrityError):
        event(**same).save()
    assert Activity.objects.get().version == 1


@pytest.mark.usefixtures("on_postgresql", "logged")
@pytest.mark.parametrize("statement", [UPDATE, DELETE])
def test_postgresql_refuses_statements_that_go_past_the_models(statement: str) -> None:
    with pytest.raises(IntegrityError, match="append-only"):
        execute(statement)
    assert Activity.objects.get().title == "Bir"


def test_pruning_deletes_the_beginning_and_records_until_when(days: list[Activity]) -> None:
    before = days[2].occurred_at

    assert retention.prune(before) == 2

    assert list(Activity.objects.order_by("pk")) == days[2:]
    horizon = ActivityHorizon.objects.get()
    assert (horizon.before, horizon.deleted) == (before, 2)
    assert horizon.pruned_at > NOW - timedelta(minutes=1)


def test_pruning_leaves_no_gap_after_an_event_that_is_kept(database: str) -> None:
    ages = {1: 9, 2: 1, 3: 8}  # days; repair had the second published again
    Activity.objects.bulk_create(event(n, occurred_at=NOW - timedelta(days=age)) for n, age in ages.items())
    assert retention.prune(NOW - timedelta(days=5)) == 1
    assert list(Activity.objects.order_by("version").values_list("version", flat=True)) == [2, 3]


def test_pruning_of_nothing_is_recorded_too(days: list[Activity]) -> None:
    assert retention.prune(days[0].occurred_at) == 0
    assert (Activity.objects.count(), ActivityHorizon.objects.get().deleted) == (4, 0)


def test_each_pruning_is_recorded(days: list[Activity]) -> None:
    assert [retention.prune(day.occurred_at) for day in days] == [0, 1, 1, 1]
    assert list(ActivityHorizon.objects.order_by("pk").values_list("deleted", flat=True)) == [0, 1, 1, 1]


def test_a_pruning_that_cannot_be_recorded_deletes_nothing(
    days: list[Activity], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.models.ActivityHorizon.objects.create", lambda **fields: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        retention.prune(NOW)
    assert Activity.objects.count() == 4


@pytest.mark.usefixtures("on_postgresql")
def test_after_a_pruning_postgresql_refuses_again(days: list[Activity]) -> None:
    retention.prune(days[1].occurred_at)
    for statement in (UPDATE, DELETE):
        with pytest.raises(IntegrityError, match="append-only"):
            execute(statement)
    assert Activity.objects.count() == 3


@pytest.mark.usefixtures("on_postgresql")
@pytest.mark.parametrize("statement", [UPDATE, DELETE])
def test_after_a_pruning_postgresql_refuses_in_the_same_transaction(days: list[Activity], statement: str) -> None:
    with transaction.atomic():
        assert retention.prune(days[1].occurred_at) == 1
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            execute(statement)
    assert Activity.objects.count() == 3


@pytest.mark.usefixtures("on_postgresql")
def test_after_a_pruning_that_failed_postgresql_refuses_in_the_same_transaction(
    days: list[Activity], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.models.ActivityHorizon.objects.create", lambda **fields: 1 / 0)
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError):
            retention.prune(NOW)
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            execute(DELETE)
    assert Activity.objects.count() == 4


@pytest.mark.usefixtures("on_postgresql")
def test_while_it_prunes_nothing_is_changed(days: list[Activity]) -> None:
    with transaction.atomic():
        execute(f"SET LOCAL {retention.SETTING} = 'on'")
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            execute(UPDATE)
