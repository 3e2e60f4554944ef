"""A held message runs nowhere else meanwhile, and is settled after it has succeeded."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models.functions import Now

from actors.outbox import holds
from actors.outbox.envelope import Ticket
from actors.outbox.models import OutboxMessage, State
from project.servers.process import wait_until
from tests.unit.outbox.conftest import Bench

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]


def the_row() -> OutboxMessage:
    return OutboxMessage.objects.get()


def hold(row: OutboxMessage, *, seconds: float) -> None:
    OutboxMessage.objects.filter(pk=row.pk).update(held_until=Now() + timedelta(seconds=seconds))


def test_a_held_actor_runs_outside_any_transaction_and_holds_its_row(bench: Bench, actor: Declare) -> None:
    seen: list[Any] = []
    actor(lambda: seen.append((connection.in_atomic_block, the_row().held_until)), outside_effects=True).send()
    bench.deliver(the_row())
    [(in_transaction, held_until)] = seen
    assert (in_transaction, held_until is not None) == (False, True)
    assert not OutboxMessage.objects.exists()


@pytest.mark.parametrize("redelivered", [False, True])
def test_a_copy_of_a_held_message_is_put_off_until_the_hold_ends(
    bench: Bench, actor: Declare, redelivered: bool
) -> None:
    runs: list[int] = []
    actor(lambda: runs.append(1), outside_effects=True).send()
    hold(the_row(), seconds=60)
    assert bench.deliver(the_row(), redelivered=redelivered) == "ack"
    row = the_row()
    assert (runs, row.state, row.due_at, row.starts, row.attempt) == ([], State.SCHEDULED, row.held_until, 0, 0)


def test_a_hold_whose_worker_died_ends_by_itself(bench: Bench, actor: Declare) -> None:
    runs: list[int] = []
    actor(lambda: runs.append(1), outside_effects=True).send()
    hold(the_row(), seconds=-1)
    bench.deliver(the_row())
    assert (runs, OutboxMessage.objects.count()) == ([1], 0)


def test_holds_are_extended_while_their_actors_run(
    bench: Bench, actor: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holds, "EXTEND_SECONDS", 0.01)
    seen: list[bool] = []

    def be_slow() -> None:
        first = the_row().held_until
        assert first is not None
        seen.append(wait_until(lambda: the_row().held_until != first, timeout_seconds=30))

    actor(be_slow, outside_effects=True, max_retries=0).send()
    bench.deliver(the_row())
    assert seen == [True]


def test_a_hold_that_has_ended_is_not_taken_up_again(actor: Declare) -> None:
    actor(lambda: None, outside_effects=True).send()
    row = the_row()
    holds.extend({Ticket(row_id=row.pk, attempt=0)})
    assert the_row().held_until is None
    hold(row, seconds=1)
    holds.extend({Ticket(row_id=row.pk, attempt=1)})
    held_until = the_row().held_until
    holds.extend({Ticket(row_id=row.pk, attempt=0)})
    assert held_until is not None
    assert the_row().held_until > held_until  # type: ignore[operator]


def test_a_held_actor_that_fails_is_held_no_longer_and_retried(bench: Bench, actor: Declare) -> None:
    def fail() -> None:
        raise ValueError("no answer")

    actor(fail, outside_effects=True).send()
    bench.deliver(the_row())
    assert (the_row().state, the_row().attempt, the_row().held_until) == (State.SCHEDULED, 1, None)


def test_what_comes_next_is_sent_when_it_is_settled(bench: Bench, actor: Declare) -> None:
    call, log = (
        actor(lambda: "answer", outside_effects=True),
        actor(lambda text: Group.objects.create(name=text) and None),
    )
    dramatiq.pipeline([call.message(), log.message()]).run()
    bench.deliver_all()
    assert Group.objects.get().name == "answer"
    assert not OutboxMessage.objects.exists()
