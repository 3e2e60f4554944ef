"""Rows that actors return are inserted as `bulk_create` inserts them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import DataError, IntegrityError, models, transaction
from django.db.models.expressions import Value
from django.db.models.functions import Now, Upper

from actors.models import Activity, Event
from actors.outbox.db.inserts import insert_returning, insert_rows

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

NOT_COMPARED = {"id", "task_id", "message_id", "logged_at", "occurred_at", "transaction"}
HARD_TEXT = "tab\tnew\nline \\N \\. 'single' \"double\" ’ \U0001f40d"


def activity(number: int, **fields: Any) -> Activity:
    return Activity(
        **{
            "event": Event.TASK_CREATED,
            "task_id": number,
            "title": "t",
            "owner": "o",
            "message_id": str(number),
            **fields,
        }
    )


VARIANTS: list[dict[str, Any]] = [
    {},
    {"title": HARD_TEXT, "owner": ""},
    {"changes": {"title": [None, HARD_TEXT], "at": [datetime(2026, 1, 2, tzinfo=UTC), 1.5], "empty": []}},
    {"changes": [], "owner_id": 2**62, "changed_by_id": None, "version": 7},
    {"published_at": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), "attempts": 3},
]


@pytest.fixture(autouse=True)
def in_a_transaction() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.mark.parametrize("fields", VARIANTS)
def test_a_row_is_as_bulk_create_makes_it(fields: dict[str, Any]) -> None:
    insert_rows([activity(1, **fields)])
    Activity.objects.bulk_create([activity(2, **fields)])
    one, other = (
        {name: value for name, value in row.items() if name not in NOT_COMPARED}
        for row in Activity.objects.order_by("task_id").values()
    )
    assert one == other


def test_the_database_gives_what_is_left_to_it() -> None:
    insert_rows([activity(1), activity(2, version=3)])
    Activity.objects.bulk_create([activity(3)])
    assert len(set(Activity.objects.values_list("transaction"))) == 1
    assert not Activity.objects.filter(logged_at__isnull=True).exists()


def test_rows_of_several_models_and_shapes_are_all_inserted() -> None:
    rows = [Group(name="a"), activity(1), Group(name="b"), activity(2, occurred_at=datetime(2026, 1, 2, tzinfo=UTC))]
    insert_rows([*rows, activity(3)])
    assert sorted(Group.objects.values_list("name", flat=True)) == ["a", "b"]
    assert Activity.objects.count() == 3


def test_rows_with_foreign_keys_are_inserted() -> None:
    user = User.objects.create(username="user")
    insert_rows([LogEntry(user=user, object_repr="x", action_flag=1, change_message="")])
    assert LogEntry.objects.get().user == user


def test_a_row_that_refers_to_one_that_is_not_saved_is_refused_as_ever() -> None:
    with pytest.raises(ValueError, match="unsaved related object"):
        insert_rows([Permission(name="x", codename="x", content_type=ContentType(app_label="x", model="x"))])


def test_expressions_are_computed_by_the_database() -> None:
    insert_rows([activity(1, occurred_at=Now()), activity(2, title=Upper(Value("loud")))])
    assert list(Activity.objects.order_by("task_id").values_list("title", flat=True)) == ["t", "LOUD"]


def test_a_chosen_id_is_kept() -> None:
    insert_rows([Group(id=1_000_000, name="chosen"), Group(name="given")])
    assert Group.objects.get(name="chosen").pk == 1_000_000
    assert Group.objects.count() == 2


def test_times_that_django_gives_are_given() -> None:
    insert_rows([User(username="user")])
    assert User.objects.get().date_joined is not None


def test_nothing_is_left_in_the_originals() -> None:
    row: models.Model = Group(name="a")
    insert_rows([row])
    assert row.pk is None


def test_nothing_to_insert_is_nothing_done() -> None:
    insert_rows([])


@pytest.mark.parametrize(
    ("row", "error"),
    [
        (lambda: activity(2, message_id="1"), IntegrityError),
        (lambda: activity(2, title=None), IntegrityError),
        (lambda: activity(2, title="x" * 201), DataError),
        (lambda: activity(2, title="a\0b"), (DataError, ValueError)),
        (lambda: activity(2, task_id=2**63), (DataError, OverflowError)),
        (lambda: activity(2, task_id="many"), ValueError),
    ],
)
def test_what_does_not_fit_is_an_error_as_ever(row: Any, error: Any, database: str) -> None:
    if database == "sqlite" and error is not IntegrityError:
        pytest.skip("SQLite takes what does not fit")
    insert_rows([activity(1)])
    for insert in (insert_rows, Activity.objects.bulk_create):
        with pytest.raises(error), transaction.atomic():
            insert([row()])
    assert Activity.objects.count() == 1


def test_one_row_is_inserted_and_what_the_database_stored_is_returned(database: str) -> None:
    returned = insert_returning(activity(1, title=HARD_TEXT), ["id", "version"], using="default")
    if database == "sqlite":
        assert returned is None
        assert not Activity.objects.exists()
    else:
        stored = Activity.objects.get()
        assert returned == (stored.pk, stored.version)
        assert stored.title == HARD_TEXT


def test_a_single_row_with_an_expression_is_left_to_django() -> None:
    assert insert_returning(activity(1, title=Upper(Value("loud"))), ["id"], using="default") is None
    assert not Activity.objects.exists()
