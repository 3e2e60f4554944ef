"""The ledger of counts: what PostgreSQL's triggers keep equals COUNT(*), however tasks are changed."""

import random
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Count, F, Q
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tasks.listing.count_ledger import WRONG, count, is_in_ledger
from tasks.models import Task
from tests.unit.outbox.race_steps import in_another_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

ON_POSTGRESQL = [pytest.param("postgresql", marks=pytest.mark.integration)]
MIGRATION = import_module("tasks.migrations.0005_ledger_of_counts")
INSERT = """
INSERT INTO tasks_task (title, description, completed, created_at, updated_at, owner_id)
SELECT 'SQL', '', n %% 3 = 0, now(), now(), %s FROM generate_series(1, %s) AS n
"""
UPSERT = """
INSERT INTO tasks_task (id, title, description, completed, created_at, updated_at, owner_id)
SELECT nextval(pg_get_serial_sequence('tasks_task', 'id')) * n + id * (1 - n),
       title, description, NOT completed, created_at, updated_at, owner_id
FROM (SELECT * FROM tasks_task ORDER BY id LIMIT 3) AS few, (VALUES (0), (1)) AS twice (n)
ON CONFLICT (id) DO UPDATE SET completed = NOT tasks_task.completed
"""


def execute_script(statements: str) -> None:
    with connection.cursor() as cursor:
        cursor.cursor.execute(statements, prepare=False)  # several at once cannot be


def execute(statement: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)


def wrong() -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(WRONG)
        groups: list[Any] = cursor.fetchall()
        return groups


def rows_of(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 – a name of ours
        number: int = cursor.fetchone()[0]
        return number


def fold() -> None:
    execute("SELECT tasks_count_fold()")


class TestWhatIsCounted:
    @pytest.fixture(autouse=True)
    def some_tasks(self, user1: User, user2: User) -> None:
        """Of user1 three tasks, one of them completed; of user2 two, both completed."""
        for title, owner in (("a", user1), ("b", user1), ("c", user1), ("d", user2), ("e", user2)):
            Task.objects.create(title=title, owner=owner, completed=title in "cde")

    @pytest.mark.parametrize(
        ("condition", "number"),
        [
            (Q(), 5),
            (Q(completed=True), 3),
            (Q(completed=False), 2),
            (Q(completed=True) & Q(completed=False), 0),
            (Q(owner__username="user1"), 3),
            (Q(title__icontains="a"), 1),
            (Q(title="a", completed=False), 1),
            (~Q(completed=True), 2),
            (Q(completed=True) | Q(title="a"), 4),
            (Q(completed=F("completed")), 5),
            (Q(pk__in=[]), 0),
            (Q(owner=2**31), 0),
            (Q(owner=2**63 - 1), 0),
        ],
    )
    def test_what_matches_is_counted(self, condition: Q, number: int) -> None:
        assert count(Task.objects.filter(condition)) == number

    def test_tasks_of_an_owner_are_counted(self, user1: User, user2: User) -> None:
        looked_up = User.objects.filter(username="user2").values("pk")[:1]
        assert count(Task.objects.filter(owner=user1)) == 3
        assert count(Task.objects.filter(owner=user1.pk, completed=True)) == 1
        assert count(Task.objects.filter(owner=user1).filter(owner=user2)) == 0
        assert count(Task.objects.filter(owner=looked_up)) == 2
        assert count(Task.objects.filter(owner=looked_up, completed=False)) == 0
        assert count(Task.objects.filter(owner=User.objects.filter(username="user3").values("pk")[:1])) == 0

    def test_querysets_of_other_kinds_are_counted_too(self) -> None:
        assert count(Task.objects.none()) == 0
        assert count(Task.objects.all()[1:3]) == 2
        assert count(Task.objects.order_by("-completed").select_related("owner")) == 5
        unordered = Task.objects.order_by()
        assert count(unordered.filter(completed=True).union(unordered.filter(title="a"))) == 4
        assert count(unordered.values("completed").distinct()) == 2
        assert count(Task.objects.values("owner").annotate(n=Count("id")).order_by("owner")) == 2

    def test_postgresql_reads_no_task_to_count_them(self, database: str, user1: User) -> None:
        for tasks in (Task.objects.all(), Task.objects.filter(completed=True), Task.objects.filter(owner=user1)):
            with CaptureQueriesContext(connection) as queries:
                count(tasks)
            assert len(queries) == 1
            assert ('FROM "tasks_task"' not in queries[0]["sql"]) == (database == "postgresql")

    def test_a_search_is_not_in_the_ledger(self) -> None:
        assert is_in_ledger(Task.objects.filter(completed=True))
        assert not is_in_ledger(Task.objects.filter(title__icontains="a"))


def create(owners: list[User]) -> None:
    Task.objects.create(title="Bir", owner=owners[0], completed=len(owners) > 1)


def create_many(owners: list[User]) -> None:
    Task.objects.bulk_create(Task(title="Bir", owner=owner, completed=n == 1) for n, owner in enumerate(owners))


def insert(owners: list[User]) -> None:
    execute(INSERT, owners[0].pk, 7)


def save(owners: list[User]) -> None:
    for task in Task.objects.order_by("?")[:2]:
        task.owner, task.title, task.completed = owners[0], "Boshqa", not task.completed
        task.save()


def update(owners: list[User]) -> None:
    Task.objects.filter(owner=owners[0]).update(completed=True, owner=owners[-1])


def hand_over(owners: list[User]) -> None:
    execute("UPDATE tasks_task SET owner_id = %s WHERE id %% 2 = 0", owners[0].pk)


def complete(owners: list[User]) -> None:
    execute("UPDATE tasks_task SET completed = NOT completed WHERE id %% 3 = %s", len(owners) % 3)


def rename(owners: list[User]) -> None:
    execute("UPDATE tasks_task SET title = 'Boshqa'")


def upsert(owners: list[User]) -> None:
    execute(UPSERT)


def delete(owners: list[User]) -> None:
    for task in Task.objects.filter(owner=owners[0])[:2]:
        task.delete()


def delete_by_sql(owners: list[User]) -> None:
    execute("DELETE FROM tasks_task WHERE id %% 4 = %s", len(owners) % 4)


def delete_many(owners: list[User]) -> None:
    Task.objects.filter(owner=owners[0]).delete()


def delete_owner(owners: list[User]) -> None:
    User.objects.get(pk=owners[0].pk).delete()
    owners[0] = User.objects.create_user(uuid4().hex)


def truncate(owners: list[User]) -> None:
    execute("SET CONSTRAINTS ALL IMMEDIATE")
    execute("TRUNCATE tasks_task")


def fold_all(owners: list[User]) -> None:
    fold()


CHANGES = (
    *(create, create_many, insert, save, update, hand_over, complete, rename, upsert, delete, delete_by_sql),
    *(delete_many, delete_owner, truncate, fold_all),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(CHANGES),
        st.permutations(range(3)).flatmap(lambda order: st.integers(1, 3).map(lambda number: order[:number])),
        st.sampled_from(["commit", "commit", "roll back"]),
    ),
    max_size=12,
)


class Undo(Exception):
    """Raised to roll a change back."""


@pytest.mark.parametrize("database", ON_POSTGRESQL, indirect=True)
class TestLedger:
    @given(steps=STEPS, is_one_transaction=st.booleans())
    @hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
    def test_after_any_changes_it_says_what_is_there(self, steps: list[Any], is_one_transaction: bool) -> None:
        Task.objects.all().delete()
        owners = [User.objects.get_or_create(username=f"owner{n}")[0] for n in range(3)]
        if is_one_transaction:
            with transaction.atomic():
                self.walk(steps, owners)
        else:
            self.walk(steps, owners)
        assert wrong() == []
        fold()
        assert wrong() == []
        assert rows_of("tasks_count_change") == 0

    def walk(self, steps: list[Any], owners: list[User]) -> None:
        for change, chosen, outcome in steps:
            actors = [owners[index] for index in chosen]
            try:
                with transaction.atomic():
                    change(actors)
                    if outcome == "roll back":
                        raise Undo
            except Undo:
                continue
            for index, owner in zip(chosen, actors, strict=True):
                owners[index] = owner
            assert wrong() == []

    def test_writers_fold_now_and_then(self, user1: User) -> None:
        # Each does with a chance of 1 in 128: that none of 10,000 does has a chance of 1 in 10^34.
        with transaction.atomic():
            for _ in range(10_000 // 500):
                execute("DO $$ BEGIN FOR number IN 1..500 LOOP " + INSERT % (user1.pk, 1) + "; END LOOP; END $$")
        assert rows_of("tasks_count") > 0
        assert rows_of("tasks_count_change") < 10_000
        assert wrong() == []

    def test_what_changes_no_count_writes_nothing(self, user1: User) -> None:
        Task.objects.create(title="Bir", owner=user1)
        fold()
        rename([user1])
        Task.objects.update(title="Ikki")
        assert rows_of("tasks_count_change") == 0

    def test_a_group_that_is_empty_leaves_no_row(self, user1: User) -> None:
        insert([user1])
        fold()
        delete_many([user1])
        fold()
        assert (rows_of("tasks_count"), rows_of("tasks_count_change")) == (0, 0)

    def test_a_transaction_that_folds_blocks_no_other(self, user1: User, user2: User) -> None:
        insert([user1])
        with transaction.atomic():
            insert([user1])
            fold()
            failures = done_elsewhere(
                lambda: execute("SET lock_timeout = 1"), lambda: insert([user2]), fold, lambda: insert([user1])
            )
            assert failures == []
            fold()
        assert wrong() == []
        assert count(Task.objects.all()) == 28

    def test_a_transaction_with_one_snapshot_folds_nothing_and_fails_at_nothing(self, user1: User) -> None:
        insert([user1])
        with transaction.atomic():
            execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            before = count(Task.objects.all())
            assert done_elsewhere(lambda: insert([user1]), fold) == []
            insert([user1])
            fold()
            assert (before, count(Task.objects.all()), wrong()) == (7, 14, [])
        assert (count(Task.objects.all()), wrong()) == (21, [])

    def test_many_writers_at_once_neither_fail_nor_lose_anything(self, user1: User, user2: User) -> None:
        stop = threading.Event()
        seen: list[Any] = []
        reader = in_another_thread(lambda: watch(stop, seen))
        failures = [failure for each in together([lambda: write(user1, user2)], number=6) for failure in each]
        stop.set()
        reader.join(60)
        assert failures == []
        assert set(map(tuple, seen)) <= {()}
        assert seen
        assert wrong() == []
        fold()
        assert (rows_of("tasks_count_change"), wrong()) == (0, [])

    def test_it_begins_with_the_tasks_that_are_there(self, user1: User, user2: User) -> None:
        with transaction.atomic():
            execute_script(MIGRATION.DROP)
            execute(INSERT, user1.pk, 10)
            execute(INSERT, user2.pk, 4)
            execute("SET CONSTRAINTS ALL IMMEDIATE")
            execute_script(MIGRATION.CREATE)
            insert([user1])
            assert wrong() == []
            assert count(Task.objects.filter(owner=user1, completed=True)) == 5
            transaction.set_rollback(True)


def write(*owners: User) -> None:
    """Change tasks of this thread's own, whose owners all threads share, in transactions of which some roll back."""
    for round_number in range(25):
        try:
            with transaction.atomic():
                mine = Task.objects.bulk_create(
                    Task(title="Bir", owner=random.choice(owners), completed=random.random() < 0.5) for _ in range(3)
                )
                pks = [task.pk for task in mine]
                execute(
                    "UPDATE tasks_task SET owner_id = %s, completed = NOT completed WHERE id = %s", owners[0].pk, pks[0]
                )
                with transaction.atomic():
                    execute("DELETE FROM tasks_task WHERE id = %s", pks[1])
                    fold()
                    transaction.set_rollback(round_number % 3 == 0)
                fold()
                if round_number % 4 == 0:
                    raise Undo
        except Undo:
            continue


def watch(stop: threading.Event, seen: list[Any]) -> None:
    while not stop.is_set():
        seen.append(wrong())


def together(steps: Sequence[Callable[[], Any]], *, number: int) -> list[list[BaseException]]:
    """Take the same steps in many threads at once; return what was raised in each."""
    results: list[list[BaseException]] = [[] for _ in range(number)]
    threads = [in_another_thread(lambda failures=each: gather(steps, failures)) for each in results]  # type: ignore[misc]
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    return results


def done_elsewhere(*steps: Callable[[], Any]) -> list[BaseException]:
    return together(steps, number=1)[0]


def gather(steps: Sequence[Callable[[], Any]], failures: list[BaseException]) -> None:
    try:
        for step in steps:
            step()
    except BaseException as error:  # noqa: BLE001 – it is the other thread that judges
        failures.append(error)


@pytest.mark.parametrize("owner", [2**31, 2**63 - 1, 2**63, 10**30])
def test_an_owner_beyond_all_ids_has_none(user1: User, owner: int) -> None:
    Task.objects.create(title="Yangi vazifa", owner=user1)

    assert count(Task.objects.filter(owner__id__exact=owner)) == 0
