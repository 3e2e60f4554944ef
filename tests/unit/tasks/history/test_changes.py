"""The activity log records what happened to each task, in any order of changes, failures and deliveries."""

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from actors.models import Activity
from actors.outbox import envelope, store
from actors.outbox.dead_letters import decisions
from actors.outbox.models import Operator, OutboxMessage, State
from actors.outbox.testing import InlineWorker
from tasks import audit
from tasks.history.changes import state_of
from tasks.models import Task

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

TITLES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=5)
Event = tuple[str, Any]


class Histories(RuleBasedStateMachine):
    """Tasks and their changes, the relay, a RabbitMQ that reorders and repeats, a worker; and the expected log."""

    tasks: Bundle[int] = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        self.owner, _ = User.objects.get_or_create(username="user1")
        self.other, _ = User.objects.get_or_create(username="user2")
        self.expected: dict[int, list[Event]] = {}
        self.inline_worker = InlineWorker()
        self.copies: list[bytes] = []

    @rule(target=tasks, title=TITLES, many=st.booleans())
    def create(self, title: str, many: bool) -> Any:
        made = [Task(title=title, owner=self.owner) for _ in range(2 if many else 1)]
        if many:
            Task.objects.bulk_create(made)
        else:
            made[0].save()
        for task in made:
            changes = {name: [None, value] for name, value in state_of(task).items()}
            self.expected[task.pk] = [("task.created", changes)]
        return multiple(*(task.pk for task in made))

    @rule(pk=tasks, title=TITLES, by_query=st.booleans())
    def retitle(self, pk: int, title: str, by_query: bool) -> None:
        task = Task.objects.filter(pk=pk).first()
        if task is None:
            return
        if task.title != title:
            self.expected[pk].append(("task.updated", {"title": [task.title, title]}))
        if by_query:
            Task.objects.filter(pk=pk).update(title=title)
        else:
            task.title = title
            task.save()

    @rule(pk=tasks, title=TITLES)
    def save_what_was_read_long_ago(self, pk: int, title: str) -> None:
        stale = Task.objects.filter(pk=pk).first()
        if stale is None:
            return
        self.retitle(pk, title, by_query=True)
        if stale.title != title:
            self.expected[pk].append(("task.updated", {"title": [title, stale.title]}))
        stale.save()

    @rule(pk=tasks)
    def hand_over(self, pk: int) -> None:
        task = Task.objects.filter(pk=pk).first()
        if task is None:
            return
        old, new = task.owner, self.other if task.owner_id == self.owner.pk else self.owner
        changes = {"owner": [old.username, new.username], "owner_id": [old.pk, new.pk]}
        self.expected[pk].append(("task.updated", changes))
        task.owner = new
        task.save(update_fields=["owner"])

    @rule(pk=consumes(tasks), by_query=st.booleans())
    def delete(self, pk: int, by_query: bool) -> None:
        task = Task.objects.get(pk=pk)
        changes = {name: [value, None] for name, value in state_of(task).items()}
        self.expected[pk].append(("task.deleted", changes))
        if by_query:
            Task.objects.filter(pk=pk).delete()
        else:
            Task.objects.filter(pk=pk).update(completed=task.completed)  # changes nothing
            task.delete()

    @rule(count=st.integers(1, 5))
    def carry(self, count: int) -> None:
        token = uuid4()
        rows = store.claim(token, count).rows
        self.copies += [envelope.to_amqp(row).body for row in rows]
        store.mark_published(token, [row.pk for row in rows])

    @rule(data=st.data(), again=st.booleans())
    def deliver(self, data: st.DataObject, again: bool) -> None:
        """Deliver any copy, in any order, and perhaps keep it to deliver it once more."""
        if self.copies:
            index = data.draw(st.integers(0, len(self.copies) - 1))
            body = self.copies[index] if again else self.copies.pop(index)
            assert self.inline_worker.deliver_copy(body, redelivered=again) == "ack"

    @rule()
    def lose_all_copies(self) -> None:
        """Wipe RabbitMQ, and have repair publish everything again."""
        self.copies.clear()
        OutboxMessage.objects.filter(state=State.PUBLISHED).update(state=State.PENDING, published_at=None)

    @rule()
    def give_up_and_replay(self) -> None:
        OutboxMessage.objects.filter(state=State.PUBLISHED).mark_dead("retries exhausted")
        decisions.replay(OutboxMessage.objects.filter(state=State.DEAD), by=Operator(name="test"), why="test")

    @invariant()
    def no_version_is_missing_even_now(self) -> None:
        findings = [audit.examine(task_id) for task_id in self.expected]
        assert [finding for finding in findings if finding] == []

    def teardown(self) -> None:
        while OutboxMessage.objects.exists():
            OutboxMessage.objects.filter(state=State.PUBLISHED).update(state=State.PENDING, published_at=None)
            self.carry(100)
            for body in [*self.copies, *self.copies]:
                self.inline_worker.deliver_copy(body)
            self.copies.clear()
        for task_id, events in self.expected.items():
            logged = list(Activity.objects.filter(task_id=task_id).order_by("version"))
            assert [(row.event, row.changes) for row in logged] == events
            assert [row.version for row in logged] == list(range(1, len(events) + 1))
            assert all(row.published_at and row.occurred_at <= row.published_at <= row.logged_at for row in logged)
        totals = audit.Totals()
        assert [audit.judge(first, last, totals) for first, last in audit.ranges()] == [[]] * len(list(audit.ranges()))
        assert (totals.waiting, totals.dead) == (0, 0)


@pytest.mark.parametrize(
    "database",
    ["sqlite", pytest.param("postgresql", marks=[pytest.mark.integration, pytest.mark.heavy])],
    indirect=True,
)
def test_the_log_is_the_history(database: str) -> None:
    lenient = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    few = settings(max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=lenient, database=None)
    run_machine(Histories, settings=few)
