"""A message under an execution lease runs nowhere else meanwhile, and is settled after it has succeeded."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import dramatiq
import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models.functions import Now
from dramatiq.middleware import Shutdown

from actors.outbox.exceptions import LeaveForRedelivery
from actors.outbox.models import OutboxMessage, State
from actors.outbox.worker import execution_lease, poison
from actors.outbox.worker.execution import Execution
from actors.outbox.worker.execution_lease import ExecutionLease
from actors.outbox.worker.poison import MAX_STARTS, SUSPECT_STARTS
from project.local.servers.process import wait_until
from tests.unit.outbox.inline_worker import InlineWorker
from tests.unit.outbox.race_steps import (
    add_effect,
    effects,
    in_another_thread,
    let_hold_lapse,
    locked_until,
    mark_claimed_published,
    only_row,
    raise_database_away,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]


def lease(row: OutboxMessage, *, seconds: float, by: UUID | None = None) -> None:
    leased = {"held_until": Now() + timedelta(seconds=seconds), "held_by": by or uuid4()}
    OutboxMessage.objects.filter(pk=row.pk).update(**leased)


def test_an_actor_with_outside_effects_runs_outside_any_transaction_under_a_lease(
    inline_worker: InlineWorker, actor: Declare
) -> None:
    seen: list[Any] = []
    actor(lambda: seen.append((connection.in_atomic_block, only_row().held_until)), outside_effects=True).send()
    inline_worker.deliver(only_row())
    [(in_transaction, held_until)] = seen
    assert (in_transaction, held_until is not None) == (False, True)
    assert not OutboxMessage.objects.exists()


@pytest.mark.parametrize("redelivered", [False, True])
def test_a_copy_of_a_leased_message_is_put_off_until_the_lease_ends(
    inline_worker: InlineWorker, actor: Declare, redelivered: bool
) -> None:
    runs: list[int] = []
    actor(lambda: runs.append(1), outside_effects=True).send()
    lease(only_row(), seconds=60)
    assert inline_worker.deliver(only_row(), redelivered=redelivered) == "ack"
    row = only_row()
    assert (runs, row.state, row.due_at, row.starts, row.attempt) == ([], State.SCHEDULED, row.held_until, 0, 0)


def test_a_lease_whose_worker_died_ends_by_itself(inline_worker: InlineWorker, actor: Declare) -> None:
    runs: list[int] = []
    actor(lambda: runs.append(1), outside_effects=True).send()
    lease(only_row(), seconds=-1)
    inline_worker.deliver(only_row())
    assert (runs, OutboxMessage.objects.count()) == ([1], 0)


def test_leases_are_renewed_while_their_actors_run(
    inline_worker: InlineWorker, actor: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_lease, "RENEW_SECONDS", 0.01)
    seen: list[bool] = []

    def be_slow() -> None:
        first = only_row().held_until
        assert first is not None
        seen.append(wait_until(lambda: only_row().held_until != first, timeout_seconds=30))

    actor(be_slow, outside_effects=True, max_retries=0).send()
    inline_worker.deliver(only_row())
    assert seen == [True]


def test_a_lease_that_was_released_is_not_renewed(actor: Declare) -> None:
    actor(lambda: None, outside_effects=True).send()
    row, run = only_row(), uuid4()
    mine = ExecutionLease(row.pk, run)
    execution_lease.renew({mine})
    assert only_row().held_until is None
    lease(row, seconds=1, by=run)
    execution_lease.renew({ExecutionLease(row.pk, uuid4())})
    held_until = only_row().held_until
    execution_lease.renew({mine})
    assert held_until is not None
    assert only_row().held_until > held_until  # type: ignore[operator]


def test_an_actor_that_fails_under_a_lease_releases_it_and_is_retried(
    inline_worker: InlineWorker, actor: Declare
) -> None:
    def fail() -> None:
        raise ValueError("no answer")

    actor(fail, outside_effects=True).send()
    inline_worker.deliver(only_row())
    assert (only_row().state, only_row().attempt, only_row().held_until) == (State.SCHEDULED, 1, None)


def test_follow_ups_are_sent_when_it_is_settled(inline_worker: InlineWorker, actor: Declare) -> None:
    call, log = (
        actor(lambda: "answer", outside_effects=True),
        actor(lambda text: Group.objects.create(name=text) and None),
    )
    dramatiq.pipeline([call.message(), log.message()]).run()
    inline_worker.deliver_all()
    assert Group.objects.get().name == "answer"
    assert not OutboxMessage.objects.exists()


def test_a_leased_message_that_kills_its_worker_is_given_up(
    inline_worker: InlineWorker, actor: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills: list[int] = []

    def die(self: Execution, call_actor: Callable[[], Any]) -> None:
        self._counted(self.delivery.unsettled_row())
        kills.append(1)
        raise LeaveForRedelivery  # stands for SIGKILL: nothing more is written or acknowledged

    actor(lambda: None, outside_effects=True).send()
    monkeypatch.setattr(Execution, "_run_then_settle", die)
    while only_row().state != State.DEAD and len(kills) < 20:
        mark_claimed_published()
        inline_worker.deliver(only_row())
        inline_worker.deliver(only_row(), redelivered=True)  # it meets the lease of the killed one
        let_hold_lapse()
    assert (only_row().reason, len(kills)) == ("starts exceeded", MAX_STARTS)


def test_a_suspect_whose_lease_has_not_ended_is_put_off_beyond_its_end(
    inline_worker: InlineWorker, actor: Declare
) -> None:
    actor(lambda: None, outside_effects=True).send()
    lease(only_row(), seconds=60)
    OutboxMessage.objects.update(starts=SUSPECT_STARTS)
    inline_worker.deliver(only_row(), redelivered=True)
    row = only_row()
    assert row.held_until is not None
    assert (row.state, row.due_at > row.held_until) == (State.SCHEDULED, True)


def test_a_leased_run_that_loses_its_database_goes_on_and_is_counted_once(
    inline_worker: InlineWorker, actor: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[int] = []

    def work() -> None:
        starts.append(only_row().starts)
        if len(starts) < 7:
            raise_database_away()

    monkeypatch.setattr(inline_worker.state.stopping, "wait", lambda seconds: False)
    actor(work, outside_effects=True).send()
    inline_worker.deliver(only_row(), redelivered=True)
    assert (starts, OutboxMessage.objects.count()) == ([1] * 7, 0)


def test_a_shutdown_releases_no_lease_of_another_execution(
    inline_worker: InlineWorker, actor: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Any] = []

    def interrupt(*arguments: Any) -> str:
        raise Shutdown

    def work() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(poison, "_put_off_until_free", interrupt)
            inline_worker.deliver(only_row(), redelivered=True)  # in a worker that has to stop before it has begun
        held.append(only_row().held_until)

    actor(work, outside_effects=True, notify_shutdown=True).send()
    inline_worker.deliver(only_row())
    assert isinstance(inline_worker.errors[0], LeaveForRedelivery)
    assert held != [None]


def test_a_row_that_is_locked_lets_no_other_lease_end(actor: Declare, database: str) -> None:
    if database != "postgresql":
        pytest.skip("SQLite has no row locks")
    one, run = actor(add_effect, outside_effects=True), uuid4()
    for name in "12":
        one.send(name)
    locked, other = OutboxMessage.objects.order_by("pk")
    for row in (locked, other):
        lease(row, seconds=1, by=run)
    before = OutboxMessage.objects.get(pk=other.pk).held_until
    with locked_until(threading.Event(), locked):
        execution_lease.renew([ExecutionLease(row.pk, run) for row in (locked, other)])
    after = OutboxMessage.objects.get(pk=other.pk).held_until
    assert before is not None
    assert after is not None
    assert after > before


def test_a_long_run_that_returns_rows_is_not_given_up_over_lost_connections(
    inline_worker: InlineWorker, actor: Declare
) -> None:
    done, begun = threading.Event(), []

    def work() -> Group:
        begun.append(1)
        done.wait(30)
        return Group(name="effect")

    def run(*, redelivered: bool) -> None:
        row = only_row()
        threads.append(in_another_thread(lambda: inline_worker.deliver(row, redelivered=redelivered)))

    threads: list[threading.Thread] = []
    actor(work, returns_rows=True).send()
    mark_claimed_published()
    run(redelivered=False)
    assert wait_until(lambda: len(begun) == 1, timeout_seconds=30)
    run(redelivered=True)
    assert wait_until(lambda: len(begun) == 2, timeout_seconds=30)
    for _ in range(MAX_STARTS):  # the connection is lost again and again, and each time RabbitMQ redelivers
        inline_worker.deliver(only_row(), redelivered=True)
        assert (only_row().state, only_row().starts) == (State.SCHEDULED, 1)
    done.set()
    for thread in threads:
        thread.join()
    assert (effects(), OutboxMessage.objects.count()) == (["effect"], 0)
