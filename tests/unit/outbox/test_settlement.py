"""A message's effect happens exactly once, and its outcome is always written down."""

from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from django.contrib.auth.models import Group
from django.db import InterfaceError, OperationalError, transaction
from dramatiq import composition

from actors.outbox.models import OutboxMessage, State
from actors.outbox.settlement import MOST_STARTS, Settling
from tests.unit.outbox.conftest import Bench

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]


def add(name: str = "effect") -> None:
    Group.objects.create(name=name)


def effects() -> list[str]:
    return sorted(Group.objects.values_list("name", flat=True))


def fail() -> None:
    add()
    raise ValueError("wrong\0 input")


def the_row() -> OutboxMessage:
    return OutboxMessage.objects.get()


def test_settling_deletes_the_row_with_the_effect(bench: Bench, actor: Declare) -> None:
    actor(add).send("one")
    assert bench.deliver(the_row()) == "ack"
    assert effects() == ["one"]
    assert not OutboxMessage.objects.exists()


def test_a_second_copy_of_a_settled_message_does_nothing(bench: Bench, actor: Declare) -> None:
    actor(add).send("one")
    row = the_row()
    bench.deliver(row)
    assert bench.deliver(row) == "ack"
    assert effects() == ["one"]


def test_the_same_message_sent_twice_is_two_works(bench: Bench, actor: Declare) -> None:
    calls: list[int] = []
    message = actor(lambda: calls.append(1)).message()
    for _ in range(2):
        dramatiq.get_broker().enqueue(message)
    bench.deliver_all()
    assert calls == [1, 1]


def test_a_foreign_message_simply_runs(bench: Bench, actor: Declare) -> None:
    message = actor(add).message("foreign")
    bench.worker.work_queue.put(None)  # type: ignore[arg-type]
    bench.worker.process_message(dramatiq.MessageProxy(message))
    assert (effects(), bench.consumer.ends) == (["foreign"], ["ack"])


def test_a_failure_undoes_the_effect_and_schedules_a_retry_on_the_row(bench: Bench, actor: Declare) -> None:
    actor(fail, min_backoff=60_000, max_backoff=60_000).send()
    before = the_row()
    assert bench.deliver(before) == "ack"
    after = the_row()
    assert effects() == []
    assert (after.pk, after.state, after.attempt) == (before.pk, State.SCHEDULED, 1)
    assert (after.due_at - before.due_at).total_seconds() >= 30
    assert after.error.startswith("ValueError: wrong")
    assert "in fail" in after.traceback


def test_an_older_attempt_is_superseded(bench: Bench, actor: Declare) -> None:
    actor(fail).send()
    old = the_row()
    bench.deliver(old)
    assert bench.deliver(old) == "ack"
    assert the_row().attempt == 1


def test_exhausted_retries_leave_a_dead_letter_for_good(bench: Bench, actor: Declare) -> None:
    actor(fail, max_retries=1).send()
    bench.deliver(the_row())
    assert bench.deliver(the_row()) == "ack"
    dead = the_row()
    assert (dead.state, dead.attempt) == (State.DEAD, 1)
    assert (dead.reason, dead.error) == ("retries exhausted", "ValueError: wrong\\0 input")
    assert dead.died_at is not None
    assert bench.deliver(dead) == "ack"
    assert (the_row().state, effects()) == (State.DEAD, [])


def test_throws_are_not_retried(bench: Bench, actor: Declare) -> None:
    actor(fail, throws=ValueError).send()
    bench.deliver(the_row())
    assert (the_row().state, the_row().reason) == (State.DEAD, "throws")


def test_retry_when_decides(bench: Bench, actor: Declare) -> None:
    actor(fail, retry_when=lambda attempt, error: attempt < 2).send()
    for _ in range(3):
        bench.deliver(the_row())
    assert (the_row().state, the_row().attempt) == (State.DEAD, 2)


def test_on_retry_exhausted_is_part_of_the_death(bench: Bench, actor: Declare) -> None:
    actor(lambda message, info: add(f"gave up after {info['retries']}"), actor_name="give_up")
    actor(fail, max_retries=0, on_retry_exhausted="give_up").send()
    bench.deliver_all()
    assert effects() == ["gave up after 0"]


def test_a_pipeline_is_cut_nowhere(bench: Bench, actor: Declare) -> None:
    def double(number: int) -> int:
        add(f"doubled {number}")
        return number * 2

    first = actor(double)
    composition.pipeline([first.message(1), first.message(), first.message()]).run()
    bench.deliver_all()
    assert effects() == ["doubled 1", "doubled 2", "doubled 4"]


def test_a_pipeline_s_next_step_rolls_back_with_its_step(bench: Bench, actor: Declare) -> None:
    step, after = actor(fail), actor(add)
    composition.pipeline([step.message(), after.message("never")]).run()
    bench.deliver(the_row())
    assert (OutboxMessage.objects.count(), effects()) == (1, [])


def test_on_success_is_sent_with_the_effect(bench: Bench, actor: Declare) -> None:
    actor(lambda message, result: add("called back"), actor_name="call_back")
    actor(add, on_success="call_back").send("one")
    bench.deliver_all()
    assert effects() == ["called back", "one"]


def test_a_group_is_sent_in_the_transaction_of_its_caller(bench: Bench, actor: Declare) -> None:
    one = actor(add)
    with transaction.atomic():
        composition.group([one.message("a"), one.message("b")]).run()
        transaction.set_rollback(True)
    assert not OutboxMessage.objects.exists()


@pytest.mark.parametrize("error", [OperationalError("server closed the connection"), InterfaceError("closed")])
def test_a_database_that_is_away_burns_no_retry(
    bench: Bench, actor: Declare, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    lock, failures = Settling._lock, [error, error]

    def fail_twice(self: Settling) -> None:
        if failures:
            raise failures.pop()
        lock(self)

    monkeypatch.setattr(Settling, "_lock", fail_twice)
    actor(add).send("one")
    assert bench.deliver(the_row()) == "ack"
    assert (effects(), OutboxMessage.objects.count()) == (["one"], 0)


def test_a_message_that_keeps_killing_its_worker_is_given_up(bench: Bench, actor: Declare) -> None:
    actor(add).send()
    OutboxMessage.objects.update(starts=MOST_STARTS)
    assert bench.deliver(the_row(), redelivered=True) == "ack"
    assert (the_row().state, effects()) == (State.DEAD, [])
    assert the_row().reason == "starts exceeded"


def test_a_redelivery_that_ends_well_is_settled(bench: Bench, actor: Declare) -> None:
    actor(add).send("one")
    bench.deliver(the_row(), redelivered=True)
    assert (effects(), OutboxMessage.objects.count()) == (["one"], 0)


def test_an_actor_called_as_a_function_settles_nothing(actor: Declare) -> None:
    one = actor(add)
    one.send("sent")
    one("called")
    assert (effects(), OutboxMessage.objects.count()) == (["called"], 1)
